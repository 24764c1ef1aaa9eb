"""From the spec to running predictors: build (a pure fold) and open (the lifecycle)."""
