-- Creates the fold as one function next to the tables, in the schema where search_path leads to them.
--
-- What the function does must never change under its name, as processes of two releases work on one database while an
-- app is deployed: a new fold is a new function, with the next number.
DO $create$
DECLARE
  near text := (
    SELECT quote_ident(namespace.nspname)
    FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE class.oid = @versions@::regclass
  );
  body text := $body$
<<fold>>
DECLARE
  tokens text[];
  token text;
  clock bigint;
  is_pending boolean;
  is_every_tenant_pending boolean;
BEGIN
  -- The caller's search_path may lead it to other tables of these names than the ones next to the function.
  IF pending_table <> #pending_name#::regclass THEN
    RAISE EXCEPTION USING ERRCODE = 'CR001', MESSAGE =
      'it belongs to the table ' || #pending_name# || ', which is not the one that search_path leads to';
  END IF;
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION USING ERRCODE = 'CR001', MESSAGE =
      'default_transaction_isolation is ' || current_setting('transaction_isolation') || ', not read committed';
  END IF;

  -- The pairs come in the order of models, then of tenants, in which all folds lock: no two wait for each other.
  FOR place IN 1 .. cardinality(tenants) LOOP
    -- In one snapshot: whoever took our pending row has committed what came of it. A row that means every tenant has to
    -- be folded first, which is not done here.
    SELECT
      (SELECT version.token FROM #versions# AS version
       WHERE version.namespace = of_namespace AND version.model = models[place] AND version.tenant = tenants[place]),
      EXISTS (SELECT FROM #pending# AS pending
       WHERE pending.namespace = of_namespace AND pending.model = models[place] AND pending.tenant = tenants[place]),
      EXISTS (SELECT FROM #pending# AS pending
       WHERE pending.namespace = of_namespace AND pending.model = models[place] AND pending.tenant = '*')
    INTO token, is_pending, is_every_tenant_pending;
    IF is_every_tenant_pending THEN
      RETURN NULL;
    END IF;

    -- What is no token, or is too old, is made new.
    clock := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    IF is_pending OR token IS NULL OR token !~ '^[0-8][0-9]{19}$' OR clock - substr(token, 1, 16)::bigint > max_age THEN
      -- The fold's commit need not reach the disk: one that is lost in a crash is made again.
      PERFORM set_config('synchronous_commit', 'off', true);
      IF token IS NULL THEN
        INSERT INTO #versions# (namespace, model, tenant, token)
        VALUES (of_namespace, models[place], tenants[place], '')
        ON CONFLICT DO NOTHING;
      END IF;
      SELECT version.token INTO token FROM #versions# AS version
      WHERE version.namespace = of_namespace AND version.model = models[place] AND version.tenant = tenants[place]
      FOR UPDATE;
      IF NOT FOUND THEN
        -- Somebody deletes version rows. No token may be answered that is not in its row.
        RETURN NULL;
      END IF;

      -- A later statement than the one that locks: it sees all that was committed before the lock was had.
      DELETE FROM #pending# AS pending
      WHERE pending.namespace = of_namespace AND pending.model = models[place] AND pending.tenant = tenants[place];
      clock := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
      IF FOUND OR token !~ '^[0-8][0-9]{19}$' OR clock - substr(token, 1, 16)::bigint > max_age THEN
        -- As in cache_revalidate.token: max(previous + 1, now), and four random digits from the system's secure source.
        IF token ~ '^[0-8][0-9]{19}$' THEN
          clock := greatest(clock, substr(token, 1, 16)::bigint + 1);
        END IF;
        token := lpad(clock::text, 16, '0')
          || lpad(mod(('x' || substr(gen_random_uuid()::text, 1, 8))::bit(32)::bigint, 10000)::text, 4, '0');
        UPDATE #versions# AS version SET token = fold.token
        WHERE version.namespace = of_namespace AND version.model = models[place] AND version.tenant = tenants[place];
      END IF;
    END IF;
    tokens[place] := token;
  END LOOP;
  RETURN tokens;
END
  $body$;
BEGIN
  body := replace(body, '#versions#', near || '.' || quote_ident(@versions_name@));
  body := replace(body, '#pending#', near || '.' || quote_ident(@pending_name@));
  body := replace(body, '#pending_name#', quote_literal(near || '.' || quote_ident(@pending_name@)));
  EXECUTE 'CREATE OR REPLACE FUNCTION ' || near || '.cache_revalidate_fold_1('
    'pending_table regclass, of_namespace text, tenants text[], models text[], max_age bigint'
    ') RETURNS text[] LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp '
    -- A fold waits for another of the same pair, which takes milliseconds, unless its process was stopped meanwhile.
    'SET lock_timeout = ''3s'' '
    -- To plan each statement would take longer than to run it; and a plan is kept that was made for a small table.
    'SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS '
    || quote_literal(body);
END $create$
