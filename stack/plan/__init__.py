"""How good `commonpool plan` is: predicted, then measured, on the stack's dashboard."""
