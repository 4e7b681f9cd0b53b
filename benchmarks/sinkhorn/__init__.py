"""How fast, how exact and how large: Sinkhorn divergences of pkdot beside those of other packages."""
