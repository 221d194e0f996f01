"""What goes in: questions, their readers, checks of the sounds, the benchmarks."""
