-- Run once, in the database "repmgr" of a new cluster.

CREATE EXTENSION repmgr;

-- What a client needs in order to find the primary, and nothing more: GRANT repmgr_metadata TO app_role.
-- The functions of the extension are open to PUBLIC, those that pause repmgrd included, hence the REVOKE.
CREATE ROLE repmgr_metadata NOLOGIN;
REVOKE ALL ON DATABASE repmgr FROM PUBLIC;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA repmgr FROM PUBLIC;
GRANT CONNECT ON DATABASE repmgr TO repmgr_metadata;
GRANT USAGE ON SCHEMA repmgr TO repmgr_metadata;
GRANT SELECT ON repmgr.nodes TO repmgr_metadata;
GRANT EXECUTE ON FUNCTION
    repmgr.get_local_node_id(), repmgr.get_upstream_node_id(), repmgr.get_upstream_last_seen()
    TO repmgr_metadata;

-- Node ids are handed out here, on the primary and under a lock, before a node is cloned: two standbys that
-- start at the same moment get two ids, and a node that comes back with an empty volume gets its old one. A node that is
-- not registered yet is noted in nodes_away with it, unless it is the cluster's first.
CREATE TABLE public.node_ids (
    node_name text PRIMARY KEY,
    node_id integer NOT NULL UNIQUE CHECK (node_id > 0)
);

CREATE FUNCTION public.reserve_node_id(name text, wanted integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    owner text;
    known integer;
BEGIN
    LOCK TABLE public.node_ids IN EXCLUSIVE MODE;

    SELECT n.node_name INTO owner
      FROM (SELECT node_name, node_id FROM repmgr.nodes
            UNION SELECT node_name, node_id FROM public.node_ids) n
     WHERE n.node_id = wanted AND n.node_name <> name LIMIT 1;
    IF owner IS NOT NULL THEN
        RAISE EXCEPTION 'NODE_ID % is taken by node %', wanted, owner;
    END IF;

    known := coalesce((SELECT node_id FROM repmgr.nodes WHERE node_name = name ORDER BY node_id LIMIT 1),
                      (SELECT node_id FROM public.node_ids WHERE node_name = name));
    IF known <> wanted THEN
        RAISE EXCEPTION 'node % has the id % already; NODE_ID asks for %', name, known, wanted;
    END IF;

    known := coalesce(wanted, known,
                      1 + greatest((SELECT max(node_id) FROM repmgr.nodes),
                                   (SELECT max(node_id) FROM public.node_ids), 0));
    -- A new node counts once it has caught up: it is as one that comes back.
    IF EXISTS (SELECT FROM repmgr.nodes) AND NOT EXISTS (SELECT FROM repmgr.nodes WHERE node_id = known) THEN
        INSERT INTO public.nodes_away VALUES (known) ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO public.node_ids VALUES (name, known) ON CONFLICT (node_name) DO UPDATE SET node_id = known;
    RETURN known;
END
$$;

REVOKE ALL ON FUNCTION public.reserve_node_id(text, integer) FROM PUBLIC;
ALTER TABLE public.node_ids OWNER TO repmgr;
ALTER FUNCTION public.reserve_node_id(text, integer) OWNER TO repmgr;

-- Who took its leave when it was stopped, and so does not count where a majority is asked for. One that returns counts, but is
-- not yet relied on: see lib/synchronous.sh.
CREATE TABLE public.nodes_away (
    node_id integer PRIMARY KEY,
    comes_back boolean NOT NULL DEFAULT false
);
ALTER TABLE public.nodes_away OWNER TO repmgr;
