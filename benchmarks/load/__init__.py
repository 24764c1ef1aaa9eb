"""The load side: generators and probes, each in a process of its own on the load's core."""
