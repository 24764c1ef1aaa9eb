"""What is kept on disk of the requests: the prediction log. Imports core only."""
