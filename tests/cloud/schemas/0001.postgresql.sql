CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
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
    resident_bytes bigint
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
CREATE TABLE public.gaps (
    boot bigint NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    found_ms bigint NOT NULL,
    asked_ms bigint,
    asked integer DEFAULT 0 NOT NULL,
    state character varying(8) NOT NULL
);
CREATE TABLE public.leases (
    name character varying(64) NOT NULL,
    holder character varying(128) NOT NULL,
    until_ms bigint NOT NULL
);
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
ALTER TABLE ONLY public.boots ALTER COLUMN id SET DEFAULT nextval('public.boots_id_seq'::regclass);
ALTER TABLE ONLY public.devices ALTER COLUMN id SET DEFAULT nextval('public.devices_id_seq'::regclass);
ALTER TABLE ONLY public.quarantine ALTER COLUMN id SET DEFAULT nextval('public.quarantine_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0001');
INSERT INTO public.boots VALUES (1, 1, '0b2f7a1e', 1800000000000, 1800000000000, 1799997540000, 0, 41, 1800000000000, NULL);
INSERT INTO public.devices VALUES (1, 'pi5', 1800000000000, 1800000000000, 'online', NULL, 1800000000000, '0b2f7a1e', 60, -5000000000, NULL, NULL, NULL, NULL, 'minilm-l6-squad', '0.1.1', 'sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', NULL, 1800000000000, 50, 78, 86.1, 1800000000000, 3, 21.668088750990282, 21.668088750990282, 51.6, '["under_voltage_occurred"]', 234881024);
INSERT INTO public.evaluations VALUES (1, 42, 1, 1800000000000, 'minilm-l3-distil-squad', '0.2.0', 'sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706', 'swap', 'edgeqa-devices', '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', 's0b2f7a1e9c4d8e3f', 50, 78, 64.8, 87.2, 86.1, 77.9, 93, 1043, 20.86, 19.4, 31, 38.2, '{"previous": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "questions": 50, "exact_match_difference": -4.0, "exact_match_interval": [-12.0, 4.0], "f1_difference": -3.1, "f1_interval": [-8.8, 2.2], "exact_match_gained": 1, "exact_match_lost": 3}');
INSERT INTO public.gaps VALUES (1, 1, 2, 3, NULL, 0, 'open');
INSERT INTO public.leases VALUES ('jobs', 'one', 1);
INSERT INTO public.quarantine VALUES (1, 1800000000000, 'edgeqa/v1/devices/pi5/telemetry', 'pi5', 'not_json', 'Invalid JSON: expected value at line 1 column 1', 1, '\x3f');
INSERT INTO public.records VALUES (1, 41, 'telemetry', 1800000000000, 1795000000000, 1800000000000, '{"schema": 1, "device": "pi5", "boot_id": "0b2f7a1e", "seq": 41, "time_ms": 1795000000000, "uptime_ms": 2460000, "interval_s": 60.0, "model": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "outcomes": {"answered": 3, "unknown_context": 1}, "latency": {"queue": {"scale": 3, "count": 3, "sum": 2.1, "offset": -6, "counts": [2, 1]}, "tokenise": {"scale": 3, "count": 3, "sum": 1.4, "offset": -10, "counts": [3]}, "inference": {"scale": 3, "count": 3, "sum": 64.2, "offset": 34, "counts": [1, 2]}, "decode": {"scale": 3, "count": 3, "sum": 0.9, "offset": -15, "counts": [3]}, "publish": {"scale": 3, "count": 3, "sum": 3.3, "offset": 0, "counts": [3]}, "total": {"scale": 3, "count": 3, "sum": 69.7, "offset": 35, "counts": [3]}}, "batch": {"scale": 3, "count": 4, "sum": 4.0, "offset": -1, "counts": [4]}, "queue_depth": 0, "queue_depth_max": 2, "processes": [{"role": "agent", "resident_bytes": 62914560}, {"role": "model", "resident_bytes": 171966464}], "memory_available_bytes": 7021264896, "memory_total_bytes": 8454418432, "cpu_load": 0.031, "temperature_celsius": 51.6, "temperature_max_celsius": 52.2, "throttled": ["under_voltage_occurred"], "disk_free_bytes": 21474836480, "disk_total_bytes": 31138512896, "host_uptime_s": 93771.2, "reconnects": 0, "outbox": {"waiting": 1, "bytes": 48211, "dropped": {}}}');
INSERT INTO public.records VALUES (1, 42, 'evaluation', 1800000000000, 1795000000000, 1800000000000, '{"schema": 1, "device": "pi5", "boot_id": "0b2f7a1e", "seq": 42, "time_ms": 1795000000000, "uptime_ms": 2460000, "model": {"name": "minilm-l3-distil-squad", "version": "0.2.0", "digest": "sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706"}, "trigger": "swap", "dataset": {"name": "edgeqa-devices", "fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "task": "squad_v2", "questions": 594}, "slice": {"id": "s0b2f7a1e9c4d8e3f", "index": 3, "of": 12}, "questions": 50, "exact_match": 78.0, "exact_match_interval": [64.8, 87.2], "f1": 86.1, "f1_interval": [77.9, 93.0], "inference": {"total_ms": 1043.0, "mean_ms": 20.86, "p50_ms": 19.4, "p95_ms": 31.0, "p99_ms": 38.2}, "duration_ms": 10412.0, "waited_ms": 9102.0, "paired": {"previous": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "questions": 50, "exact_match_difference": -4.0, "exact_match_interval": [-12.0, 4.0], "f1_difference": -3.1, "f1_interval": [-8.8, 2.2], "exact_match_gained": 1, "exact_match_lost": 3}}');
INSERT INTO public.records VALUES (1, 43, 'swap', 1800000000000, 1795000000000, 1800000000000, '{"schema": 1, "device": "pi5", "boot_id": "0b2f7a1e", "seq": 43, "time_ms": 1795000000000, "uptime_ms": 2460000, "state": "failed", "name": "minilm-l3-distil-squad", "version": "0.2.0", "digest": "sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706", "wish": "5b0c1d9e2f3a48576c8d9eafb0c1d2e3", "reason": {"code": "gate_latency", "message": "p95 312.0 ms, the wish allows 250.0"}, "active": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "duration_ms": 4875.0}');
INSERT INTO public.rollups VALUES (1, 'hour', 0, '', 1, 60, 1, '{"answered": 1}', NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, NULL, NULL);
INSERT INTO public.rollups_due VALUES (1, 1800000000000, 659278753316359207);
INSERT INTO public.swaps VALUES (1, 43, 1, 1800000000000, 'failed', 'minilm-l3-distil-squad', '0.2.0', 'sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706', '5b0c1d9e2f3a48576c8d9eafb0c1d2e3', NULL, 'gate_latency', 'p95 312.0 ms, the wish allows 250.0', 4875);
SELECT pg_catalog.setval('public.boots_id_seq', 1, true);
SELECT pg_catalog.setval('public.devices_id_seq', 1, true);
SELECT pg_catalog.setval('public.quarantine_id_seq', 1, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.boots
    ADD CONSTRAINT pk_boots PRIMARY KEY (id);
ALTER TABLE ONLY public.devices
    ADD CONSTRAINT pk_devices PRIMARY KEY (id);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT pk_evaluations PRIMARY KEY (boot, seq);
ALTER TABLE ONLY public.gaps
    ADD CONSTRAINT pk_gaps PRIMARY KEY (boot, first);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT pk_leases PRIMARY KEY (name);
ALTER TABLE ONLY public.quarantine
    ADD CONSTRAINT pk_quarantine PRIMARY KEY (id);
ALTER TABLE ONLY public.records
    ADD CONSTRAINT pk_records PRIMARY KEY (boot, seq);
ALTER TABLE ONLY public.rollups
    ADD CONSTRAINT pk_rollups PRIMARY KEY (device_id, period, start_ms, model_digest);
ALTER TABLE ONLY public.rollups_due
    ADD CONSTRAINT pk_rollups_due PRIMARY KEY (device_id, start_ms);
ALTER TABLE ONLY public.swaps
    ADD CONSTRAINT pk_swaps PRIMARY KEY (boot, seq);
ALTER TABLE ONLY public.boots
    ADD CONSTRAINT uq_boots_device_id_boot_id UNIQUE (device_id, boot_id);
ALTER TABLE ONLY public.devices
    ADD CONSTRAINT uq_devices_device UNIQUE (device);
CREATE INDEX ix_evaluations_device_id_time_ms ON public.evaluations USING btree (device_id, time_ms);
CREATE INDEX ix_evaluations_time_ms ON public.evaluations USING btree (time_ms);
CREATE INDEX ix_gaps_state ON public.gaps USING btree (state);
CREATE INDEX ix_quarantine_code ON public.quarantine USING btree (code);
CREATE INDEX ix_quarantine_received_ms ON public.quarantine USING btree (received_ms);
CREATE INDEX ix_records_boot_time_ms ON public.records USING btree (boot, time_ms);
CREATE INDEX ix_records_received_ms ON public.records USING btree (received_ms);
CREATE INDEX ix_rollups_period_start_ms ON public.rollups USING btree (period, start_ms);
CREATE INDEX ix_swaps_device_id_time_ms ON public.swaps USING btree (device_id, time_ms);
CREATE INDEX ix_swaps_time_ms ON public.swaps USING btree (time_ms);
ALTER TABLE ONLY public.boots
    ADD CONSTRAINT fk_boots_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT fk_evaluations_boot FOREIGN KEY (boot) REFERENCES public.boots(id);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT fk_evaluations_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.gaps
    ADD CONSTRAINT fk_gaps_boot FOREIGN KEY (boot) REFERENCES public.boots(id);
ALTER TABLE ONLY public.rollups
    ADD CONSTRAINT fk_rollups_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.rollups_due
    ADD CONSTRAINT fk_rollups_due_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
ALTER TABLE ONLY public.swaps
    ADD CONSTRAINT fk_swaps_boot FOREIGN KEY (boot) REFERENCES public.boots(id);
ALTER TABLE ONLY public.swaps
    ADD CONSTRAINT fk_swaps_device_id FOREIGN KEY (device_id) REFERENCES public.devices(id);
