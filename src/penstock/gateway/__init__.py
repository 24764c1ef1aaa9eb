"""The faces of the graph: the plain one and the operators'. HTTP stands here and nowhere else."""
