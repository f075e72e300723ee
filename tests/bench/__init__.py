"""What `scripts/bench` measures, and how: every figure beside a peer or a floor, by turns, in one process."""
