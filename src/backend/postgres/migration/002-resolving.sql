-- What a process needs to find out what became of a write whose session died, and to make sure that it never happens later:
-- `turn` is part of every guard, and is raised when a write was found absent;
-- `recent` lists the tokens of the latest groups, the latest first.
-- `catalog` changes whenever a collection is declared, so that processes know when to read the declarations again.
ALTER TABLE underpin_fences
  ADD COLUMN turn bigint NOT NULL DEFAULT 0,
  ADD COLUMN recent text COLLATE "C" NOT NULL DEFAULT '',
  ADD COLUMN catalog bigint NOT NULL DEFAULT 0;
