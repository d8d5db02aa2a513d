CREATE TABLE public.accounts (
    id bigint NOT NULL,
    kind character varying(8) NOT NULL,
    name character varying(64) NOT NULL,
    role character varying(16) NOT NULL,
    secret text NOT NULL,
    created_ms bigint NOT NULL,
    created_by character varying(128) NOT NULL,
    expires_ms bigint,
    revoked_ms bigint,
    last_used_ms bigint
);
CREATE SEQUENCE public.accounts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.accounts_id_seq OWNED BY public.accounts.id;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.audit (
    id bigint NOT NULL,
    time_ms bigint NOT NULL,
    actor character varying(128) NOT NULL,
    action character varying(64) NOT NULL,
    rollout character varying(64),
    device character varying(64),
    message text NOT NULL,
    evidence json NOT NULL
);
CREATE SEQUENCE public.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_id_seq OWNED BY public.audit.id;
CREATE TABLE public.boots (
    id bigint NOT NULL,
    device_id bigint NOT NULL,
    boot_id character varying(64) NOT NULL,
    first_seen_ms bigint NOT NULL,
    last_seen_ms bigint NOT NULL,
    epoch_ms bigint,
    settled bigint DEFAULT '0'::bigint NOT NULL,
    announced bigint DEFAULT '0'::bigint NOT NULL,
    announced_ms bigint,
    held_from bigint
);
CREATE SEQUENCE public.boots_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.boots_id_seq OWNED BY public.boots.id;
CREATE TABLE public.catalogue (
    id integer NOT NULL,
    repository text NOT NULL,
    tried_ms bigint NOT NULL,
    read_ms bigint,
    expires_ms bigint,
    code character varying(64),
    message text
);
CREATE SEQUENCE public.catalogue_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.catalogue_id_seq OWNED BY public.catalogue.id;
CREATE TABLE public.credentials (
    id bigint NOT NULL,
    role character varying(8) NOT NULL,
    name character varying(64) NOT NULL,
    method character varying(16) NOT NULL,
    serial character varying(40),
    fingerprint character varying(64),
    secret text,
    issued_ms bigint NOT NULL,
    issued_by character varying(128) NOT NULL,
    expires_ms bigint NOT NULL,
    revoked_ms bigint,
    reason text
);
CREATE SEQUENCE public.credentials_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.credentials_id_seq OWNED BY public.credentials.id;
CREATE TABLE public.device_tags (
    device_id bigint NOT NULL,
    tag character varying(64) NOT NULL
);
CREATE TABLE public.devices (
    id bigint NOT NULL,
    device character varying(64) NOT NULL,
    first_seen_ms bigint NOT NULL,
    last_seen_ms bigint NOT NULL,
    presence character varying(16),
    presence_reason character varying(64),
    presence_ms bigint,
    boot_id character varying(64),
    heartbeat_interval_s double precision,
    skew_ms bigint,
    agent_version character varying(64),
    onnxruntime_version character varying(64),
    groups json,
    hardware json,
    model_name character varying(64),
    model_version character varying(64),
    model_digest character varying(80),
    reported json,
    evaluated_ms bigint,
    evaluation_questions bigint,
    exact_match double precision,
    f1 double precision,
    telemetry_ms bigint,
    answered bigint,
    p50_ms double precision,
    p95_ms double precision,
    temperature_celsius double precision,
    throttled json,
    resident_bytes bigint,
    reported_ms bigint
);
CREATE SEQUENCE public.devices_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.devices_id_seq OWNED BY public.devices.id;
CREATE TABLE public.evaluations (
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    device_id bigint NOT NULL,
    time_ms bigint NOT NULL,
    model_name character varying(64) NOT NULL,
    model_version character varying(64) NOT NULL,
    model_digest character varying(80) NOT NULL,
    trigger character varying(16) NOT NULL,
    dataset character varying(256) NOT NULL,
    fingerprint character varying(64) NOT NULL,
    slice_id character varying(64) NOT NULL,
    questions bigint NOT NULL,
    exact_match double precision NOT NULL,
    exact_match_low double precision NOT NULL,
    exact_match_high double precision NOT NULL,
    f1 double precision NOT NULL,
    f1_low double precision NOT NULL,
    f1_high double precision NOT NULL,
    total_ms double precision NOT NULL,
    mean_ms double precision NOT NULL,
    p50_ms double precision NOT NULL,
    p95_ms double precision NOT NULL,
    p99_ms double precision NOT NULL,
    paired json
);
CREATE TABLE public.fleet_hours (
    start_ms bigint NOT NULL,
    devices integer NOT NULL,
    covered_s double precision NOT NULL,
    answered bigint NOT NULL,
    refused bigint NOT NULL,
    total json,
    temperature_max_celsius double precision,
    evaluation_questions bigint NOT NULL,
    exact_match double precision,
    f1 double precision
);
CREATE TABLE public.fleet_hours_due (
    start_ms bigint NOT NULL,
    mark_ms bigint NOT NULL
);
CREATE TABLE public.gaps (
    boot bigint NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    found_ms bigint NOT NULL,
    asked_ms bigint,
    asked integer DEFAULT 0 NOT NULL,
    state character varying(8) NOT NULL
);
CREATE TABLE public.idempotency (
    account character varying(128) NOT NULL,
    key character varying(128) NOT NULL,
    request character varying(64) NOT NULL,
    status integer,
    headers text,
    body text,
    made_ms bigint NOT NULL
);
CREATE TABLE public.leases (
    name character varying(64) NOT NULL,
    holder character varying(128) NOT NULL,
    until_ms bigint NOT NULL
);
CREATE TABLE public.packages (
    id bigint NOT NULL,
    name character varying(64) NOT NULL,
    version character varying(64) NOT NULL,
    digest character varying(80) NOT NULL,
    bytes bigint NOT NULL,
    manifest json NOT NULL,
    first_seen_ms bigint NOT NULL,
    last_seen_ms bigint NOT NULL,
    gone_ms bigint
);
CREATE SEQUENCE public.packages_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.packages_id_seq OWNED BY public.packages.id;
CREATE TABLE public.quarantine (
    id bigint NOT NULL,
    received_ms bigint NOT NULL,
    topic text NOT NULL,
    device character varying(64),
    code character varying(64) NOT NULL,
    message text NOT NULL,
    bytes bigint NOT NULL,
    payload bytea NOT NULL
);
CREATE SEQUENCE public.quarantine_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.quarantine_id_seq OWNED BY public.quarantine.id;
CREATE TABLE public.records (
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    kind character varying(16) NOT NULL,
    time_ms bigint NOT NULL,
    device_time_ms bigint NOT NULL,
    received_ms bigint NOT NULL,
    payload text NOT NULL
);
CREATE TABLE public.rollout_claims (
    device_id bigint NOT NULL,
    rollout_id bigint NOT NULL
);
CREATE TABLE public.rollout_members (
    rollout_id bigint NOT NULL,
    device_id bigint NOT NULL,
    stage integer NOT NULL,
    "position" integer NOT NULL,
    state character varying(16) NOT NULL,
    before_name character varying(64),
    before_version character varying(64),
    before_digest character varying(80),
    wish character varying(128),
    wished_ms bigint,
    online_when_wished boolean,
    settled_ms bigint,
    revert_wish character varying(128),
    reverting_ms bigint,
    code character varying(64),
    message text,
    baseline json
);
CREATE TABLE public.rollout_orders (
    id bigint NOT NULL,
    rollout_id bigint NOT NULL,
    action character varying(16) NOT NULL,
    actor character varying(128) NOT NULL,
    note text NOT NULL,
    ordered_ms bigint NOT NULL,
    state character varying(8) NOT NULL,
    code character varying(64),
    message text,
    done_ms bigint
);
CREATE SEQUENCE public.rollout_orders_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.rollout_orders_id_seq OWNED BY public.rollout_orders.id;
CREATE TABLE public.rollouts (
    id bigint NOT NULL,
    rollout character varying(64) NOT NULL,
    created_ms bigint NOT NULL,
    created_by character varying(128) NOT NULL,
    spec json NOT NULL,
    model_name character varying(64) NOT NULL,
    model_version character varying(64) NOT NULL,
    model_digest character varying(80) NOT NULL,
    state character varying(16) NOT NULL,
    code character varying(64),
    reason text,
    stage integer DEFAULT 0 NOT NULL,
    stage_begun_ms bigint,
    soak_begun_ms bigint,
    promoted boolean DEFAULT false NOT NULL,
    undo_begun_ms bigint,
    ended_ms bigint,
    gates json,
    gates_stage integer,
    gates_ms bigint,
    revision bigint DEFAULT '1'::bigint NOT NULL,
    updated_ms bigint NOT NULL
);
CREATE SEQUENCE public.rollouts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.rollouts_id_seq OWNED BY public.rollouts.id;
CREATE TABLE public.rollups (
    device_id bigint NOT NULL,
    period character varying(8) NOT NULL,
    start_ms bigint NOT NULL,
    model_digest character varying(80) NOT NULL,
    records bigint NOT NULL,
    covered_s double precision NOT NULL,
    answered bigint NOT NULL,
    outcomes json NOT NULL,
    total json,
    inference json,
    queue json,
    temperature_max_celsius double precision,
    resident_bytes_max bigint,
    cpu_load_mean double precision,
    reconnects bigint NOT NULL,
    evaluations integer NOT NULL,
    evaluation_questions bigint NOT NULL,
    exact_match double precision,
    f1 double precision
);
CREATE TABLE public.rollups_due (
    device_id bigint NOT NULL,
    start_ms bigint NOT NULL,
    mark bigint NOT NULL
);
CREATE TABLE public.sessions (
    secret character varying(64) NOT NULL,
    account_id bigint NOT NULL,
    created_ms bigint NOT NULL,
    expires_ms bigint NOT NULL
);
CREATE TABLE public.swaps (
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    device_id bigint NOT NULL,
    time_ms bigint NOT NULL,
    state character varying(16) NOT NULL,
    name character varying(64) NOT NULL,
    version character varying(64) NOT NULL,
    digest character varying(80),
    wish character varying(128),
    rollout character varying(128),
    code character varying(64),
    message text,
    duration_ms double precision
);
CREATE TABLE public.wishes (
    id bigint NOT NULL,
    rollout_id bigint NOT NULL,
    device_id bigint NOT NULL,
    device character varying(64) NOT NULL,
    wish character varying(128),
    payload text NOT NULL,
    made_ms bigint NOT NULL,
    published_ms bigint
);
CREATE SEQUENCE public.wishes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.wishes_id_seq OWNED BY public.wishes.id;
ALTER TABLE ONLY public.accounts ALTER COLUMN id SET DEFAULT nextval('public.accounts_id_seq'::regclass);
ALTER TABLE ONLY public.audit ALTER COLUMN id SET DEFAULT nextval('public.audit_id_seq'::regclass);
ALTER TABLE ONLY public.boots ALTER COLUMN id SET DEFAULT nextval('public.boots_id_seq'::regclass);
ALTER TABLE ONLY public.catalogue ALTER COLUMN id SET DEFAULT nextval('public.catalogue_id_seq'::regclass);
ALTER TABLE ONLY public.credentials ALTER COLUMN id SET DEFAULT nextval('public.credentials_id_seq'::regclass);
ALTER TABLE ONLY public.devices ALTER COLUMN id SET DEFAULT nextval('public.devices_id_seq'::regclass);
ALTER TABLE ONLY public.packages ALTER COLUMN id SET DEFAULT nextval('public.packages_id_seq'::regclass);
ALTER TABLE ONLY public.quarantine ALTER COLUMN id SET DEFAULT nextval('public.quarantine_id_seq'::regclass);
ALTER TABLE ONLY public.rollout_orders ALTER COLUMN id SET DEFAULT nextval('public.rollout_orders_id_seq'::regclass);
ALTER TABLE ONLY public.rollouts ALTER COLUMN id SET DEFAULT nextval('public.rollouts_id_seq'::regclass);
ALTER TABLE ONLY public.wishes ALTER COLUMN id SET DEFAULT nextval('public.wishes_id_seq'::regclass);
INSERT INTO public.accounts VALUES (1, 'user', 'anna', 'admin', 'x', 1, 'shell', NULL, NULL, NULL);
INSERT INTO public.alembic_version VALUES ('0003');
INSERT INTO public.audit VALUES (1, 1, 'engine', 'completed', NULL, NULL, '', '{}');
INSERT INTO public.boots VALUES (1, 1, '0b2f7a1e', 1800000000000, 1800000000000, 1799997540000, 0, 41, 1800000000000, NULL);
INSERT INTO public.catalogue VALUES (1, 'file:///r', 1, NULL, NULL, NULL, NULL);
INSERT INTO public.credentials VALUES (1, 'device', 'pi-1', 'certificate', '1f', '0000000000000000000000000000000000000000000000000000000000000000', NULL, 1, 'shell', 2, NULL, NULL);
INSERT INTO public.device_tags VALUES (1, 'hall');
INSERT INTO public.devices VALUES (1, 'pi5', 1800000000000, 1800000000000, 'online', NULL, 1800000000000, '0b2f7a1e', 60, -5000000000, NULL, NULL, NULL, NULL, 'minilm-l6-squad', '0.1.1', 'sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', NULL, 1800000000000, 50, 78, 86.1, 1800000000000, 3, 21.668088750990282, 21.668088750990282, 51.6, '["under_voltage_occurred"]', 234881024, NULL);
INSERT INTO public.evaluations VALUES (1, 42, 1, 1800000000000, 'minilm-l3-distil-squad', '0.2.0', 'sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706', 'swap', 'edgeqa-devices', '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', 's0b2f7a1e9c4d8e3f', 50, 78, 64.8, 87.2, 86.1, 77.9, 93, 1043, 20.86, 19.4, 31, 38.2, '{"previous": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "questions": 50, "exact_match_difference": -4.0, "exact_match_interval": [-12.0, 4.0], "f1_difference": -3.1, "f1_interval": [-8.8, 2.2], "exact_match_gained": 1, "exact_match_lost": 3}');
INSERT INTO public.fleet_hours VALUES (0, 1, 60, 1, 0, NULL, NULL, 0, NULL, NULL);
INSERT INTO public.fleet_hours_due VALUES (0, 1);
INSERT INTO public.gaps VALUES (1, 1, 2, 3, NULL, 0, 'open');
INSERT INTO public.idempotency VALUES ('user:anna', 'k', 'x', NULL, NULL, NULL, 1);
INSERT INTO public.leases VALUES ('jobs', 'one', 1);
INSERT INTO public.packages VALUES (1, 'minilm', '1.0.0', 'sha256:0000000000000000000000000000000000000000000000000000000000000000', 1, '{}', 1, 1, NULL);
INSERT INTO public.quarantine VALUES (1, 1800000000000, 'edgeqa/v1/devices/pi5/telemetry', 'pi5', 'not_json', 'Invalid JSON: expected value at line 1 column 1', 1, '\x3f');
INSERT INTO public.records VALUES (1, 41, 'telemetry', 1800000000000, 1795000000000, 1800000000000, '{"schema": 1, "device": "pi5", "boot_id": "0b2f7a1e", "seq": 41, "time_ms": 1795000000000, "uptime_ms": 2460000, "interval_s": 60.0, "model": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "outcomes": {"answered": 3, "unknown_context": 1}, "latency": {"queue": {"scale": 3, "count": 3, "sum": 2.1, "offset": -6, "counts": [2, 1]}, "tokenise": {"scale": 3, "count": 3, "sum": 1.4, "offset": -10, "counts": [3]}, "inference": {"scale": 3, "count": 3, "sum": 64.2, "offset": 34, "counts": [1, 2]}, "decode": {"scale": 3, "count": 3, "sum": 0.9, "offset": -15, "counts": [3]}, "publish": {"scale": 3, "count": 3, "sum": 3.3, "offset": 0, "counts": [3]}, "total": {"scale": 3, "count": 3, "sum": 69.7, "offset": 35, "counts": [3]}}, "batch": {"scale": 3, "count": 4, "sum": 4.0, "offset": -1, "counts": [4]}, "queue_depth": 0, "queue_depth_max": 2, "processes": [{"role": "agent", "resident_bytes": 62914560}, {"role": "model", "resident_bytes": 171966464}], "memory_available_bytes": 7021264896, "memory_total_bytes": 8454418432, "cpu_load": 0.031, "temperature_celsius": 51.6, "temperature_max_celsius": 52.2, "throttled": ["under_voltage_occurred"], "disk_free_bytes": 21474836480, "disk_total_bytes": 31138512896, "host_uptime_s": 93771.2, "reconnects": 0, "outbox": {"waiting": 1, "bytes": 48211, "dropped": {}}}');
INSERT INTO public.records VALUES (1, 42, 'evaluation', 1800000000000, 1795000000000, 1800000000000, '{"schema": 1, "device": "pi5", "boot_id": "0b2f7a1e", "seq": 42, "time_ms": 1795000000000, "uptime_ms": 2460000, "model": {"name": "minilm-l3-distil-squad", "version": "0.2.0", "digest": "sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706"}, "trigger": "swap", "dataset": {"name": "edgeqa-devices", "fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "task": "squad_v2", "questions": 594}, "slice": {"id": "s0b2f7a1e9c4d8e3f", "index": 3, "of": 12}, "questions": 50, "exact_match": 78.0, "exact_match_interval": [64.8, 87.2], "f1": 86.1, "f1_interval": [77.9, 93.0], "inference": {"total_ms": 1043.0, "mean_ms": 20.86, "p50_ms": 19.4, "p95_ms": 31.0, "p99_ms": 38.2}, "duration_ms": 10412.0, "waited_ms": 9102.0, "paired": {"previous": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "questions": 50, "exact_match_difference": -4.0, "exact_match_interval": [-12.0, 4.0], "f1_difference": -3.1, "f1_interval": [-8.8, 2.2], "exact_match_gained": 1, "exact_match_lost": 3}}');
INSERT INTO public.records VALUES (1, 43, 'swap', 1800000000000, 1795000000000, 1800000000000, '{"schema": 1, "device": "pi5", "boot_id": "0b2f7a1e", "seq": 43, "time_ms": 1795000000000, "uptime_ms": 2460000, "state": "failed", "name": "minilm-l3-distil-squad", "version": "0.2.0", "digest": "sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706", "wish": "5b0c1d9e2f3a48576c8d9eafb0c1d2e3", "reason": {"code": "gate_latency", "message": "p95 312.0 ms, the wish allows 250.0"}, "active": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "duration_ms": 4875.0}');
INSERT INTO public.rollout_claims VALUES (1, 1);
INSERT INTO public.rollout_members VALUES (1, 1, 0, 0, 'changed', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.rollout_orders VALUES (1, 1, 'pause', 'user:anna', '', 1, 'obeyed', NULL, NULL, NULL);
INSERT INTO public.rollouts VALUES (1, 'r-1', 1, 'user:anna', '{}', 'minilm', '1.0.0', 'sha256:0000000000000000000000000000000000000000000000000000000000000000', 'completed', NULL, NULL, 0, NULL, NULL, false, NULL, NULL, NULL, NULL, NULL, 1, 1);
INSERT INTO public.rollups VALUES (1, 'hour', 0, '', 1, 60, 1, '{"answered": 1}', NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, NULL, NULL);
INSERT INTO public.rollups_due VALUES (1, 1800000000000, 531821448123283601);
INSERT INTO public.sessions VALUES ('x', 1, 1, 2);
INSERT INTO public.swaps VALUES (1, 43, 1, 1800000000000, 'failed', 'minilm-l3-distil-squad', '0.2.0', 'sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706', '5b0c1d9e2f3a48576c8d9eafb0c1d2e3', NULL, 'gate_latency', 'p95 312.0 ms, the wish allows 250.0', 4875);
INSERT INTO public.wishes VALUES (1, 1, 1, 'pi-1', NULL, '{}', 1, NULL);
SELECT pg_catalog.setval('public.accounts_id_seq', 1, true);
SELECT pg_catalog.setval('public.audit_id_seq', 1, true);
SELECT pg_catalog.setval('public.boots_id_seq', 1, true);
SELECT pg_catalog.setval('public.catalogue_id_seq', 1, false);
SELECT pg_catalog.setval('public.credentials_id_seq', 1, true);
SELECT pg_catalog.setval('public.devices_id_seq', 1, true);
SELECT pg_catalog.setval('public.packages_id_seq', 1, true);
SELECT pg_catalog.setval('public.quarantine_id_seq', 1, true);
SELECT pg_catalog.setval('public.rollout_orders_id_seq', 1, true);
SELECT pg_catalog.setval('public.rollouts_id_seq', 1, true);
SELECT pg_catalog.setval('public.wishes_id_seq', 1, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT pk_accounts PRIMARY KEY (id);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT pk_audit PRIMARY KEY (id);
ALTER TABLE ONLY public.boots
    ADD CONSTRAINT pk_boots PRIMARY KEY (id);
ALTER TABLE ONLY public.catalogue
    ADD CONSTRAINT pk_catalogue PRIMARY KEY (id);
ALTER TABLE ONLY public.credentials
    ADD CONSTRAINT pk_credentials PRIMARY KEY (id);
ALTER TABLE ONLY public.device_tags
    ADD CONSTRAINT pk_device_tags PRIMARY KEY (device_id, tag);
ALTER TABLE ONLY public.devices
    ADD CONSTRAINT pk_devices PRIMARY KEY (id);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT pk_evaluations PRIMARY KEY (boot, seq);
ALTER TABLE ONLY public.fleet_hours
    ADD CONSTRAINT pk_fleet_hours PRIMARY KEY (start_ms);
ALTER TABLE ONLY public.fleet_hours_due
    ADD CONSTRAINT pk_fleet_hours_due PRIMARY KEY (start_ms);
ALTER TABLE ONLY public.gaps
    ADD CONSTRAINT pk_gaps PRIMARY KEY (boot, first);
ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT pk_idempotency PRIMARY KEY (account, key);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT pk_leases PRIMARY KEY (name);
ALTER TABLE ONLY public.packages
    ADD CONSTRAINT pk_packages PRIMARY KEY (id);
ALTER TABLE ONLY public.quarantine
    ADD CONSTRAINT pk_quarantine PRIMARY KEY (id);
ALTER TABLE ONLY public.records
    ADD CONSTRAINT pk_records PRIMARY KEY (boot, seq);
ALTER TABLE ONLY public.rollout_claims
    ADD CONSTRAINT pk_rollout_claims PRIMARY KEY (device_id);
ALTER TABLE ONLY public.rollout_members
    ADD CONSTRAINT pk_rollout_members PRIMARY KEY (rollout_id, device_id);
ALTER TABLE ONLY public.rollout_orders
    ADD CONSTRAINT pk_rollout_orders PRIMARY KEY (id);
ALTER TABLE ONLY public.rollouts
    ADD CONSTRAINT pk_rollouts PRIMARY KEY (id);
ALTER TABLE ONLY public.rollups
    ADD CONSTRAINT pk_rollups PRIMARY KEY (device_id, period, start_ms, model_digest);
ALTER TABLE ONLY public.rollups_due
    ADD CONSTRAINT pk_rollups_due PRIMARY KEY (device_id, start_ms);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT pk_sessions PRIMARY KEY (secret);
ALTER TABLE ONLY public.swaps
    ADD CONSTRAINT pk_swaps PRIMARY KEY (boot, seq);
ALTER TABLE ONLY public.wishes
    ADD CONSTRAINT pk_wishes PRIMARY KEY (id);
ALTER TABLE ONLY public.boots
    ADD CONSTRAINT uq_boots_device_id_boot_id UNIQUE (device_id, boot_id);
ALTER TABLE ONLY public.devices
    ADD CONSTRAINT uq_devices_device UNIQUE (device);
ALTER TABLE ONLY public.packages
    ADD CONSTRAINT uq_packages_name_version_digest UNIQUE (name, version, digest);
ALTER TABLE ONLY public.rollouts
    ADD CONSTRAINT uq_rollouts_rollout UNIQUE (rollout);
CREATE INDEX ix_accounts_secret ON public.accounts USING btree (secret);
CREATE INDEX ix_audit_device ON public.audit USING btree (device);
CREATE INDEX ix_audit_rollout ON public.audit USING btree (rollout);
CREATE INDEX ix_audit_time_ms ON public.audit USING btree (time_ms);
CREATE INDEX ix_credentials_expires_ms ON public.credentials USING btree (expires_ms);
CREATE INDEX ix_credentials_name ON public.credentials USING btree (role, name);
CREATE INDEX ix_device_tags_tag ON public.device_tags USING btree (tag);
CREATE INDEX ix_devices_reported_ms ON public.devices USING btree (reported_ms);
CREATE INDEX ix_evaluations_device_id_time_ms ON public.evaluations USING btree (device_id, time_ms);
CREATE INDEX ix_evaluations_time_ms ON public.evaluations USING btree (time_ms);
CREATE INDEX ix_gaps_state ON public.gaps USING btree (state);
CREATE INDEX ix_idempotency_made_ms ON public.idempotency USING btree (made_ms);
CREATE INDEX ix_quarantine_code ON public.quarantine USING btree (code);
CREATE INDEX ix_quarantine_received_ms ON public.quarantine USING btree (received_ms);
CREATE INDEX ix_records_boot_time_ms ON public.records USING btree (boot, time_ms);
CREATE INDEX ix_records_received_ms ON public.records USING btree (received_ms);
CREATE INDEX ix_rollout_members_device_id ON public.rollout_members USING btree (device_id);
CREATE INDEX ix_rollout_members_rollout_id_state ON public.rollout_members USING btree (rollout_id, state);
CREATE INDEX ix_rollout_orders_state ON public.rollout_orders USING btree (state);
CREATE INDEX ix_rollouts_state ON public.rollouts USING btree (state);
CREATE INDEX ix_rollups_period_start_ms ON public.rollups USING btree (period, start_ms);
CREATE INDEX ix_sessions_expires_ms ON public.sessions USING btree (expires_ms);
CREATE INDEX ix_swaps_device_id_time_ms ON public.swaps USING btree (device_id, time_ms);
CREATE INDEX ix_swaps_time_ms ON public.swaps USING btree (time_ms);
CREATE INDEX ix_wishes_published_ms_id ON public.wishes USING btree (published_ms, id);
CREATE UNIQUE INDEX uq_accounts_kind_name ON public.accounts USING btree (kind, name);
CREATE UNIQUE INDEX uq_credentials_serial ON public.credentials USING btree (role, serial);
ALTER TABLE ONLY public.boots
    ADD CONSTRAINT fk_boots_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.device_tags
    ADD CONSTRAINT fk_device_tags_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT fk_evaluations_boot FOREIGN KEY (boot) REFERENCES public.boots(id);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT fk_evaluations_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.gaps
    ADD CONSTRAINT fk_gaps_boot FOREIGN KEY (boot) REFERENCES public.boots(id);
ALTER TABLE ONLY public.rollout_claims
    ADD CONSTRAINT fk_rollout_claims_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.rollout_claims
    ADD CONSTRAINT fk_rollout_claims_rollout_id FOREIGN KEY (rollout_id) REFERENCES public.rollouts(id);
ALTER TABLE ONLY public.rollout_members
    ADD CONSTRAINT fk_rollout_members_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.rollout_members
    ADD CONSTRAINT fk_rollout_members_rollout_id FOREIGN KEY (rollout_id) REFERENCES public.rollouts(id);
ALTER TABLE ONLY public.rollout_orders
    ADD CONSTRAINT fk_rollout_orders_rollout_id FOREIGN KEY (rollout_id) REFERENCES public.rollouts(id);
ALTER TABLE ONLY public.rollups
    ADD CONSTRAINT fk_rollups_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.rollups_due
    ADD CONSTRAINT fk_rollups_due_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT fk_sessions_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.swaps
    ADD CONSTRAINT fk_swaps_boot FOREIGN KEY (boot) REFERENCES public.boots(id);
ALTER TABLE ONLY public.swaps
    ADD CONSTRAINT fk_swaps_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.wishes
    ADD CONSTRAINT fk_wishes_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.wishes
    ADD CONSTRAINT fk_wishes_rollout_id FOREIGN KEY (rollout_id) REFERENCES public.rollouts(id);
