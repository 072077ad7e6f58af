"""What generative models minimise: bounds of the likelihood, and the two sides of a game."""

from tfp_genext.objectives.bounds import ELBO, Bound, ImportanceWeighted, Terms

__all__ = ["ELBO", "Bound", "ImportanceWeighted", "Terms"]
