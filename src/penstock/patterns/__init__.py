"""The serving patterns: predictors made of predictors, one file each. Imports core only."""
