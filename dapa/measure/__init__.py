"""Student, patched and teacher by safety, over-refusal, utility and skill."""
