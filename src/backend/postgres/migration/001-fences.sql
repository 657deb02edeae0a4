-- The fence of each domain that this schema holds: who may write, under which epoch, and up to which position.
-- Room for updates on each page, so that they stay on it: the row changes with every group of commits.
CREATE TABLE underpin_fences (
  domain text COLLATE "C" PRIMARY KEY,
  role text NOT NULL,
  epoch bigint NOT NULL,
  head bigint NOT NULL,
  digest text NOT NULL,
  incarnation text NOT NULL,
  successor text
) WITH (fillfactor = 10);
