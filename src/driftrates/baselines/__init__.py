"""Fields that the literature compares drifting with: Sinkhorn drift, Deng et al.'s Algorithm 2, SVGD and the MMD flow."""

KERNELS = {"conservative": "gaussian", "displacement": "laplace", "sharp": "laplace"}
"""The fields of drifting, with the kernel that each is compared and trained under."""
