"""The parent of the decoder processes: who asks which of them, and what an answer may say."""
