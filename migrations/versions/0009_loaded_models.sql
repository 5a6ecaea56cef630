-- The models that tagging processes have loaded. A process says every half minute that it runs.
CREATE TABLE loaded_models (
    model     text PRIMARY KEY,  -- as in tagged_images.model: name and weights
    loaded_at timestamptz NOT NULL DEFAULT now(),
    seen_at   timestamptz NOT NULL DEFAULT now()
);
