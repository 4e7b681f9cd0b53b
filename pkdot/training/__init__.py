"""From a config to a run folder: trainers, the loop they share, checkpoints and the log book."""
