"""The screen: the only wing that imports gradio."""
