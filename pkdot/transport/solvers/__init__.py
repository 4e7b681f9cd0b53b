"""The mathematics of the torch backend: one loop of sweeps, Newton's steps, and where soft minima come from."""
