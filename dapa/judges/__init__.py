"""(prompt, reply) -> Verdict. One factory a file; heavy judges import late."""
