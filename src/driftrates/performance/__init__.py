"""What a pass over all pairs costs beside other packages, and how many passes a unit of time costs each integrator."""
