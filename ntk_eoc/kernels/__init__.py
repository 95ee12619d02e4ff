"""Neural tangent kernels: infinite width, and finite width by three algorithms."""
