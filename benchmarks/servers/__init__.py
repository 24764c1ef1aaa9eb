"""The servers that Penstock is compared with, each as a user would write it."""
