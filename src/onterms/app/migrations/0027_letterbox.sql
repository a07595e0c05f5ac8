-- The simulator's letterboxes: letters on paper, where they would have gone. They belong to the world outside.

CREATE TABLE letterbox_letters (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address text NOT NULL,
    text    text NOT NULL,
    sent_at timestamptz NOT NULL
);
