-- Run on a witness whenever the readers of the node table have changed on the primary. They are in the table "reader".

BEGIN;

SELECT format('CREATE ROLE %I', name) FROM reader
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- A witness's superusers are its own.
SELECT format('ALTER ROLE %I LOGIN PASSWORD %L VALID UNTIL %L', name, verifier, coalesce(until, 'infinity'))
  FROM reader JOIN pg_roles ON rolname = name WHERE NOT rolsuper \gexec
SELECT format('GRANT repmgr_metadata TO %I', name) FROM reader \gexec

SELECT format('REVOKE repmgr_metadata FROM %I', rolname), format('ALTER ROLE %I NOLOGIN PASSWORD NULL', rolname)
  FROM pg_auth_members JOIN pg_roles r ON r.oid = member
 WHERE roleid = 'repmgr_metadata'::regrole AND NOT rolsuper AND rolname NOT IN (SELECT name FROM reader) \gexec

COMMIT;
