-- Options of Batches, and of bodies. Every statement may be repeated.
-- depends: 0001.initial

ALTER TABLE messages ADD COLUMN IF NOT EXISTS options jsonb NOT NULL DEFAULT '{}';
ALTER TABLE bodies ADD COLUMN IF NOT EXISTS syntax text NOT NULL DEFAULT 'plain' CHECK (syntax IN ('plain', 'liquid'));
ALTER TABLE bodies ADD COLUMN IF NOT EXISTS css_inlined boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN messages.options IS 'Headers, raw fields and text part that the call asked for; empty where it asked for none.';
COMMENT ON COLUMN bodies.syntax IS 'How placeholders are written: plain or liquid.';
COMMENT ON COLUMN bodies.css_inlined IS 'Whether the styles of the HTML were written into its tags when it was stored.';
COMMENT ON COLUMN bodies.text IS 'The text part, given or made from the HTML once; empty if it is made from each mail''s own HTML.';
