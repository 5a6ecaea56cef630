"""The bundled demo model: weights and configuration for open_clip, see MODEL_CARD.md."""
