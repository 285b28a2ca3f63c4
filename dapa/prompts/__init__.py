"""What is asked: prompt sets, the files that they come from, and how they are split."""
