"""Questions, their readers, checks of their audio, the benchmarks."""
