BEGIN TRANSACTION;
CREATE TABLE accounts (
	id INTEGER NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	secret TEXT NOT NULL, 
	created_ms BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	expires_ms BIGINT, 
	revoked_ms BIGINT, 
	last_used_ms BIGINT, 
	CONSTRAINT pk_accounts PRIMARY KEY (id)
);
INSERT INTO "accounts" VALUES(1,'user','anna','admin','x',1,'shell',NULL,NULL,NULL);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	time_ms BIGINT NOT NULL, 
	actor VARCHAR(128) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	rollout VARCHAR(64), 
	device VARCHAR(64), 
	message TEXT NOT NULL, 
	evidence JSON NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (id)
);
INSERT INTO "audit" VALUES(1,1,'engine','completed',NULL,NULL,'','{}');
CREATE TABLE boots (
	id INTEGER NOT NULL, 
	device_id INTEGER NOT NULL, 
	boot_id VARCHAR(64) NOT NULL, 
	first_seen_ms BIGINT NOT NULL, 
	last_seen_ms BIGINT NOT NULL, 
	epoch_ms BIGINT, 
	settled BIGINT DEFAULT '0' NOT NULL, 
	announced BIGINT DEFAULT '0' NOT NULL, 
	announced_ms BIGINT, 
	held_from BIGINT, 
	CONSTRAINT pk_boots PRIMARY KEY (id), 
	CONSTRAINT fk_boots_device_id FOREIGN KEY(device_id) REFERENCES devices (id), 
	CONSTRAINT uq_boots_device_id_boot_id UNIQUE (device_id, boot_id)
);
INSERT INTO "boots" VALUES(1,1,'0b2f7a1e',1800000000000,1800000000000,1799997540000,0,41,1800000000000,NULL);
CREATE TABLE catalogue (
	id INTEGER NOT NULL, 
	repository TEXT NOT NULL, 
	tried_ms BIGINT NOT NULL, 
	read_ms BIGINT, 
	expires_ms BIGINT, 
	code VARCHAR(64), 
	message TEXT, 
	CONSTRAINT pk_catalogue PRIMARY KEY (id)
);
INSERT INTO "catalogue" VALUES(1,'file:///r',1,NULL,NULL,NULL,NULL);
CREATE TABLE credentials (
	id INTEGER NOT NULL, 
	role VARCHAR(8) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	method VARCHAR(16) NOT NULL, 
	serial VARCHAR(40), 
	fingerprint VARCHAR(64), 
	secret TEXT, 
	issued_ms BIGINT NOT NULL, 
	issued_by VARCHAR(128) NOT NULL, 
	expires_ms BIGINT NOT NULL, 
	revoked_ms BIGINT, 
	reason TEXT, 
	CONSTRAINT pk_credentials PRIMARY KEY (id)
);
INSERT INTO "credentials" VALUES(1,'device','pi-1','certificate','1f','0000000000000000000000000000000000000000000000000000000000000000',NULL,1,'shell',2,NULL,NULL);
CREATE TABLE device_tags (
	device_id INTEGER NOT NULL, 
	tag VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_device_tags PRIMARY KEY (device_id, tag), 
	CONSTRAINT fk_device_tags_device_id FOREIGN KEY(device_id) REFERENCES devices (id)
);
INSERT INTO "device_tags" VALUES(1,'hall');
CREATE TABLE devices (
	id INTEGER NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	first_seen_ms BIGINT NOT NULL, 
	last_seen_ms BIGINT NOT NULL, 
	presence VARCHAR(16), 
	presence_reason VARCHAR(64), 
	presence_ms BIGINT, 
	boot_id VARCHAR(64), 
	heartbeat_interval_s FLOAT, 
	skew_ms BIGINT, 
	agent_version VARCHAR(64), 
	onnxruntime_version VARCHAR(64), 
	groups JSON, 
	hardware JSON, 
	model_name VARCHAR(64), 
	model_version VARCHAR(64), 
	model_digest VARCHAR(80), 
	reported JSON, 
	evaluated_ms BIGINT, 
	evaluation_questions BIGINT, 
	exact_match FLOAT, 
	f1 FLOAT, 
	telemetry_ms BIGINT, 
	answered BIGINT, 
	p50_ms FLOAT, 
	p95_ms FLOAT, 
	temperature_celsius FLOAT, 
	throttled JSON, 
	resident_bytes BIGINT, reported_ms BIGINT, 
	CONSTRAINT pk_devices PRIMARY KEY (id), 
	CONSTRAINT uq_devices_device UNIQUE (device)
);
INSERT INTO "devices" VALUES(1,'pi5',1800000000000,1800000000000,'online',NULL,1800000000000,'0b2f7a1e',60.0,-5000000000,NULL,NULL,NULL,NULL,'minilm-l6-squad','0.1.1','sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',NULL,1800000000000,50,78.0,86.1,1800000000000,3,2.1668088750990282421e+01,2.1668088750990282421e+01,51.6,'["under_voltage_occurred"]',234881024,NULL);
CREATE TABLE evaluations (
	boot INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	device_id INTEGER NOT NULL, 
	time_ms BIGINT NOT NULL, 
	model_name VARCHAR(64) NOT NULL, 
	model_version VARCHAR(64) NOT NULL, 
	model_digest VARCHAR(80) NOT NULL, 
	"trigger" VARCHAR(16) NOT NULL, 
	dataset VARCHAR(256) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	slice_id VARCHAR(64) NOT NULL, 
	questions BIGINT NOT NULL, 
	exact_match FLOAT NOT NULL, 
	exact_match_low FLOAT NOT NULL, 
	exact_match_high FLOAT NOT NULL, 
	f1 FLOAT NOT NULL, 
	f1_low FLOAT NOT NULL, 
	f1_high FLOAT NOT NULL, 
	total_ms FLOAT NOT NULL, 
	mean_ms FLOAT NOT NULL, 
	p50_ms FLOAT NOT NULL, 
	p95_ms FLOAT NOT NULL, 
	p99_ms FLOAT NOT NULL, 
	paired JSON, 
	CONSTRAINT pk_evaluations PRIMARY KEY (boot, seq), 
	CONSTRAINT fk_evaluations_boot FOREIGN KEY(boot) REFERENCES boots (id), 
	CONSTRAINT fk_evaluations_device_id FOREIGN KEY(device_id) REFERENCES devices (id)
);
INSERT INTO "evaluations" VALUES(1,42,1,1800000000000,'minilm-l3-distil-squad','0.2.0','sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706','swap','edgeqa-devices','9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08','s0b2f7a1e9c4d8e3f',50,78.0,64.8,87.2,86.1,77.9,93.0,1043.0,20.86,19.4,31.0,38.2,'{"previous": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "questions": 50, "exact_match_difference": -4.0, "exact_match_interval": [-12.0, 4.0], "f1_difference": -3.1, "f1_interval": [-8.8, 2.2], "exact_match_gained": 1, "exact_match_lost": 3}');
CREATE TABLE fleet_hours (
	start_ms BIGINT NOT NULL, 
	devices INTEGER NOT NULL, 
	covered_s FLOAT NOT NULL, 
	answered BIGINT NOT NULL, 
	refused BIGINT NOT NULL, 
	total JSON, 
	temperature_max_celsius FLOAT, 
	evaluation_questions BIGINT NOT NULL, 
	exact_match FLOAT, 
	f1 FLOAT, 
	CONSTRAINT pk_fleet_hours PRIMARY KEY (start_ms)
);
INSERT INTO "fleet_hours" VALUES(0,1,60.0,1,0,NULL,NULL,0,NULL,NULL);
CREATE TABLE fleet_hours_due (
	start_ms BIGINT NOT NULL, 
	mark_ms BIGINT NOT NULL, 
	CONSTRAINT pk_fleet_hours_due PRIMARY KEY (start_ms)
);
INSERT INTO "fleet_hours_due" VALUES(0,1);
CREATE TABLE gaps (
	boot INTEGER NOT NULL, 
	first BIGINT NOT NULL, 
	last BIGINT NOT NULL, 
	found_ms BIGINT NOT NULL, 
	asked_ms BIGINT, 
	asked INTEGER DEFAULT '0' NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	CONSTRAINT pk_gaps PRIMARY KEY (boot, first), 
	CONSTRAINT fk_gaps_boot FOREIGN KEY(boot) REFERENCES boots (id)
);
INSERT INTO "gaps" VALUES(1,1,2,3,NULL,0,'open');
CREATE TABLE idempotency (
	account VARCHAR(128) NOT NULL, 
	"key" VARCHAR(128) NOT NULL, 
	request VARCHAR(64) NOT NULL, 
	status INTEGER, 
	headers TEXT, 
	body TEXT, 
	made_ms BIGINT NOT NULL, 
	CONSTRAINT pk_idempotency PRIMARY KEY (account, "key")
);
INSERT INTO "idempotency" VALUES('user:anna','k','x',NULL,NULL,NULL,1);
CREATE TABLE leases (
	name VARCHAR(64) NOT NULL, 
	holder VARCHAR(128) NOT NULL, 
	until_ms BIGINT NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('jobs','one',1);
CREATE TABLE packages (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	version VARCHAR(64) NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	bytes BIGINT NOT NULL, 
	manifest JSON NOT NULL, 
	first_seen_ms BIGINT NOT NULL, 
	last_seen_ms BIGINT NOT NULL, 
	gone_ms BIGINT, 
	CONSTRAINT pk_packages PRIMARY KEY (id), 
	CONSTRAINT uq_packages_name_version_digest UNIQUE (name, version, digest)
);
INSERT INTO "packages" VALUES(1,'minilm','1.0.0','sha256:0000000000000000000000000000000000000000000000000000000000000000',1,'{}',1,1,NULL);
CREATE TABLE quarantine (
	id INTEGER NOT NULL, 
	received_ms BIGINT NOT NULL, 
	topic TEXT NOT NULL, 
	device VARCHAR(64), 
	code VARCHAR(64) NOT NULL, 
	message TEXT NOT NULL, 
	bytes BIGINT NOT NULL, 
	payload BLOB NOT NULL, 
	CONSTRAINT pk_quarantine PRIMARY KEY (id)
);
INSERT INTO "quarantine" VALUES(1,1800000000000,'edgeqa/v1/devices/pi5/telemetry','pi5','not_json','Invalid JSON: expected value at line 1 column 1',1,X'3F');
CREATE TABLE records (
	boot BIGINT NOT NULL, 
	seq BIGINT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	time_ms BIGINT NOT NULL, 
	device_time_ms BIGINT NOT NULL, 
	received_ms BIGINT NOT NULL, 
	payload TEXT NOT NULL, 
	CONSTRAINT pk_records PRIMARY KEY (boot, seq)
);
INSERT INTO "records" VALUES(1,41,'telemetry',1800000000000,1795000000000,1800000000000,'{"schema": 1, "device": "pi5", "boot_id": "0b2f7a1e", "seq": 41, "time_ms": 1795000000000, "uptime_ms": 2460000, "interval_s": 60.0, "model": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "outcomes": {"answered": 3, "unknown_context": 1}, "latency": {"queue": {"scale": 3, "count": 3, "sum": 2.1, "offset": -6, "counts": [2, 1]}, "tokenise": {"scale": 3, "count": 3, "sum": 1.4, "offset": -10, "counts": [3]}, "inference": {"scale": 3, "count": 3, "sum": 64.2, "offset": 34, "counts": [1, 2]}, "decode": {"scale": 3, "count": 3, "sum": 0.9, "offset": -15, "counts": [3]}, "publish": {"scale": 3, "count": 3, "sum": 3.3, "offset": 0, "counts": [3]}, "total": {"scale": 3, "count": 3, "sum": 69.7, "offset": 35, "counts": [3]}}, "batch": {"scale": 3, "count": 4, "sum": 4.0, "offset": -1, "counts": [4]}, "queue_depth": 0, "queue_depth_max": 2, "processes": [{"role": "agent", "resident_bytes": 62914560}, {"role": "model", "resident_bytes": 171966464}], "memory_available_bytes": 7021264896, "memory_total_bytes": 8454418432, "cpu_load": 0.031, "temperature_celsius": 51.6, "temperature_max_celsius": 52.2, "throttled": ["under_voltage_occurred"], "disk_free_bytes": 21474836480, "disk_total_bytes": 31138512896, "host_uptime_s": 93771.2, "reconnects": 0, "outbox": {"waiting": 1, "bytes": 48211, "dropped": {}}}');
INSERT INTO "records" VALUES(1,42,'evaluation',1800000000000,1795000000000,1800000000000,'{"schema": 1, "device": "pi5", "boot_id": "0b2f7a1e", "seq": 42, "time_ms": 1795000000000, "uptime_ms": 2460000, "model": {"name": "minilm-l3-distil-squad", "version": "0.2.0", "digest": "sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706"}, "trigger": "swap", "dataset": {"name": "edgeqa-devices", "fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "task": "squad_v2", "questions": 594}, "slice": {"id": "s0b2f7a1e9c4d8e3f", "index": 3, "of": 12}, "questions": 50, "exact_match": 78.0, "exact_match_interval": [64.8, 87.2], "f1": 86.1, "f1_interval": [77.9, 93.0], "inference": {"total_ms": 1043.0, "mean_ms": 20.86, "p50_ms": 19.4, "p95_ms": 31.0, "p99_ms": 38.2}, "duration_ms": 10412.0, "waited_ms": 9102.0, "paired": {"previous": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "questions": 50, "exact_match_difference": -4.0, "exact_match_interval": [-12.0, 4.0], "f1_difference": -3.1, "f1_interval": [-8.8, 2.2], "exact_match_gained": 1, "exact_match_lost": 3}}');
INSERT INTO "records" VALUES(1,43,'swap',1800000000000,1795000000000,1800000000000,'{"schema": 1, "device": "pi5", "boot_id": "0b2f7a1e", "seq": 43, "time_ms": 1795000000000, "uptime_ms": 2460000, "state": "failed", "name": "minilm-l3-distil-squad", "version": "0.2.0", "digest": "sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706", "wish": "5b0c1d9e2f3a48576c8d9eafb0c1d2e3", "reason": {"code": "gate_latency", "message": "p95 312.0 ms, the wish allows 250.0"}, "active": {"name": "minilm-l6-squad", "version": "0.1.1", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, "duration_ms": 4875.0}');
CREATE TABLE rollout_claims (
	device_id INTEGER NOT NULL, 
	rollout_id INTEGER NOT NULL, 
	CONSTRAINT pk_rollout_claims PRIMARY KEY (device_id), 
	CONSTRAINT fk_rollout_claims_device_id FOREIGN KEY(device_id) REFERENCES devices (id), 
	CONSTRAINT fk_rollout_claims_rollout_id FOREIGN KEY(rollout_id) REFERENCES rollouts (id)
);
INSERT INTO "rollout_claims" VALUES(1,1);
CREATE TABLE rollout_members (
	rollout_id INTEGER NOT NULL, 
	device_id INTEGER NOT NULL, 
	stage INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	before_name VARCHAR(64), 
	before_version VARCHAR(64), 
	before_digest VARCHAR(80), 
	wish VARCHAR(128), 
	wished_ms BIGINT, 
	online_when_wished BOOLEAN, 
	settled_ms BIGINT, 
	revert_wish VARCHAR(128), 
	reverting_ms BIGINT, 
	code VARCHAR(64), 
	message TEXT, 
	baseline JSON, 
	CONSTRAINT pk_rollout_members PRIMARY KEY (rollout_id, device_id), 
	CONSTRAINT fk_rollout_members_device_id FOREIGN KEY(device_id) REFERENCES devices (id), 
	CONSTRAINT fk_rollout_members_rollout_id FOREIGN KEY(rollout_id) REFERENCES rollouts (id)
);
INSERT INTO "rollout_members" VALUES(1,1,0,0,'changed',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE rollout_orders (
	id INTEGER NOT NULL, 
	rollout_id INTEGER NOT NULL, 
	action VARCHAR(16) NOT NULL, 
	actor VARCHAR(128) NOT NULL, 
	note TEXT NOT NULL, 
	ordered_ms BIGINT NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	code VARCHAR(64), 
	message TEXT, 
	done_ms BIGINT, 
	CONSTRAINT pk_rollout_orders PRIMARY KEY (id), 
	CONSTRAINT fk_rollout_orders_rollout_id FOREIGN KEY(rollout_id) REFERENCES rollouts (id)
);
INSERT INTO "rollout_orders" VALUES(1,1,'pause','user:anna','',1,'obeyed',NULL,NULL,NULL);
CREATE TABLE rollouts (
	id INTEGER NOT NULL, 
	rollout VARCHAR(64) NOT NULL, 
	created_ms BIGINT NOT NULL, 
	created_by VARCHAR(128) NOT NULL, 
	spec JSON NOT NULL, 
	model_name VARCHAR(64) NOT NULL, 
	model_version VARCHAR(64) NOT NULL, 
	model_digest VARCHAR(80) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	code VARCHAR(64), 
	reason TEXT, 
	stage INTEGER DEFAULT '0' NOT NULL, 
	stage_begun_ms BIGINT, 
	soak_begun_ms BIGINT, 
	promoted BOOLEAN DEFAULT 0 NOT NULL, 
	undo_begun_ms BIGINT, 
	ended_ms BIGINT, 
	gates JSON, 
	gates_stage INTEGER, 
	gates_ms BIGINT, 
	revision BIGINT DEFAULT '1' NOT NULL, 
	updated_ms BIGINT NOT NULL, 
	CONSTRAINT pk_rollouts PRIMARY KEY (id), 
	CONSTRAINT uq_rollouts_rollout UNIQUE (rollout)
);
INSERT INTO "rollouts" VALUES(1,'r-1',1,'user:anna','{}','minilm','1.0.0','sha256:0000000000000000000000000000000000000000000000000000000000000000','completed',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,1,1);
CREATE TABLE rollups (
	device_id INTEGER NOT NULL, 
	period VARCHAR(8) NOT NULL, 
	start_ms BIGINT NOT NULL, 
	model_digest VARCHAR(80) NOT NULL, 
	records BIGINT NOT NULL, 
	covered_s FLOAT NOT NULL, 
	answered BIGINT NOT NULL, 
	outcomes JSON NOT NULL, 
	total JSON, 
	inference JSON, 
	queue JSON, 
	temperature_max_celsius FLOAT, 
	resident_bytes_max BIGINT, 
	cpu_load_mean FLOAT, 
	reconnects BIGINT NOT NULL, 
	evaluations INTEGER NOT NULL, 
	evaluation_questions BIGINT NOT NULL, 
	exact_match FLOAT, 
	f1 FLOAT, 
	CONSTRAINT pk_rollups PRIMARY KEY (device_id, period, start_ms, model_digest), 
	CONSTRAINT fk_rollups_device_id FOREIGN KEY(device_id) REFERENCES devices (id)
);
INSERT INTO "rollups" VALUES(1,'hour',0,'',1,60.0,1,'{"answered": 1}',NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,NULL,NULL);
CREATE TABLE rollups_due (
	device_id INTEGER NOT NULL, 
	start_ms BIGINT NOT NULL, 
	mark BIGINT NOT NULL, 
	CONSTRAINT pk_rollups_due PRIMARY KEY (device_id, start_ms), 
	CONSTRAINT fk_rollups_due_device_id FOREIGN KEY(device_id) REFERENCES devices (id)
);
INSERT INTO "rollups_due" VALUES(1,1800000000000,1756839082021845493);
CREATE TABLE sessions (
	secret VARCHAR(64) NOT NULL, 
	account_id INTEGER NOT NULL, 
	created_ms BIGINT NOT NULL, 
	expires_ms BIGINT NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (secret), 
	CONSTRAINT fk_sessions_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "sessions" VALUES('x',1,1,2);
CREATE TABLE swaps (
	boot INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	device_id INTEGER NOT NULL, 
	time_ms BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	version VARCHAR(64) NOT NULL, 
	digest VARCHAR(80), 
	wish VARCHAR(128), 
	rollout VARCHAR(128), 
	code VARCHAR(64), 
	message TEXT, 
	duration_ms FLOAT, 
	CONSTRAINT pk_swaps PRIMARY KEY (boot, seq), 
	CONSTRAINT fk_swaps_boot FOREIGN KEY(boot) REFERENCES boots (id), 
	CONSTRAINT fk_swaps_device_id FOREIGN KEY(device_id) REFERENCES devices (id)
);
INSERT INTO "swaps" VALUES(1,43,1,1800000000000,'failed','minilm-l3-distil-squad','0.2.0','sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706','5b0c1d9e2f3a48576c8d9eafb0c1d2e3',NULL,'gate_latency','p95 312.0 ms, the wish allows 250.0',4875.0);
CREATE TABLE wishes (
	id INTEGER NOT NULL, 
	rollout_id INTEGER NOT NULL, 
	device_id INTEGER NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	wish VARCHAR(128), 
	payload TEXT NOT NULL, 
	made_ms BIGINT NOT NULL, 
	published_ms BIGINT, 
	CONSTRAINT pk_wishes PRIMARY KEY (id), 
	CONSTRAINT fk_wishes_device_id FOREIGN KEY(device_id) REFERENCES devices (id), 
	CONSTRAINT fk_wishes_rollout_id FOREIGN KEY(rollout_id) REFERENCES rollouts (id)
);
INSERT INTO "wishes" VALUES(1,1,1,'pi-1',NULL,'{}',1,NULL);
CREATE INDEX ix_quarantine_code ON quarantine (code);
CREATE INDEX ix_quarantine_received_ms ON quarantine (received_ms);
CREATE INDEX ix_records_boot_time_ms ON records (boot, time_ms);
CREATE INDEX ix_records_received_ms ON records (received_ms);
CREATE INDEX ix_rollups_period_start_ms ON rollups (period, start_ms);
CREATE INDEX ix_evaluations_device_id_time_ms ON evaluations (device_id, time_ms);
CREATE INDEX ix_evaluations_time_ms ON evaluations (time_ms);
CREATE INDEX ix_gaps_state ON gaps (state);
CREATE INDEX ix_swaps_device_id_time_ms ON swaps (device_id, time_ms);
CREATE INDEX ix_swaps_time_ms ON swaps (time_ms);
CREATE INDEX ix_accounts_secret ON accounts (secret);
CREATE UNIQUE INDEX uq_accounts_kind_name ON accounts (kind, name);
CREATE INDEX ix_audit_device ON audit (device);
CREATE INDEX ix_audit_rollout ON audit (rollout);
CREATE INDEX ix_audit_time_ms ON audit (time_ms);
CREATE INDEX ix_idempotency_made_ms ON idempotency (made_ms);
CREATE INDEX ix_rollouts_state ON rollouts (state);
CREATE INDEX ix_device_tags_tag ON device_tags (tag);
CREATE INDEX ix_rollout_members_device_id ON rollout_members (device_id);
CREATE INDEX ix_rollout_members_rollout_id_state ON rollout_members (rollout_id, state);
CREATE INDEX ix_rollout_orders_state ON rollout_orders (state);
CREATE INDEX ix_sessions_expires_ms ON sessions (expires_ms);
CREATE INDEX ix_wishes_published_ms_id ON wishes (published_ms, id);
CREATE INDEX ix_devices_reported_ms ON devices (reported_ms);
CREATE INDEX ix_credentials_expires_ms ON credentials (expires_ms);
CREATE INDEX ix_credentials_name ON credentials (role, name);
CREATE UNIQUE INDEX uq_credentials_serial ON credentials (role, serial);
COMMIT;
