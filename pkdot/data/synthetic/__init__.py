"""The simulators behind the two synthetic data sets."""
