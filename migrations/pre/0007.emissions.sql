-- An edge that is full for weeks is offered the same Attempt again and again, each time as another emission.
-- depends: 0006.reports

ALTER TABLE deliveries ALTER COLUMN emission TYPE integer;
