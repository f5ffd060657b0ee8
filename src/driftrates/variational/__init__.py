"""The variational reading of drifting: gradient flows of the smoothed KL, proximal steps, and descent through the field."""
