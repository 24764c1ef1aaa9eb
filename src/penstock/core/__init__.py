"""The vocabulary of the request path: values, errors, Protocols, clock, driving.

Imports nothing of ours.
"""
