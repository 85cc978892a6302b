CREATE TABLE connections (
    id INTEGER PRIMARY KEY,
    wall_ns INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    cgroup_id INTEGER NOT NULL,
    started_ns INTEGER NOT NULL,
    comm TEXT NOT NULL,
    process TEXT NOT NULL,
    exe TEXT,
    family INTEGER NOT NULL,
    source_ip BLOB,
    source_port INTEGER,
    destination_ip BLOB,
    destination_port INTEGER,
    protocol INTEGER NOT NULL,
    netns INTEGER NOT NULL,
    direction TEXT NOT NULL,
    found INTEGER NOT NULL,
    socket_type INTEGER NOT NULL,
    path TEXT,
    peer_pid INTEGER,
    verdict TEXT NOT NULL,
    outcome_ns INTEGER,
    errno INTEGER,
    stage TEXT,
    accepted_after_ns INTEGER,
    bytes_sent INTEGER,
    bytes_received INTEGER,
    packets_sent INTEGER,
    packets_received INTEGER,
    srtt_us INTEGER,
    retransmits INTEGER,
    close_ns INTEGER,
    ending TEXT,
    close_errno INTEGER
) STRICT;
CREATE INDEX connections_by_time ON connections (wall_ns);
CREATE INDEX connections_by_pid ON connections (pid, wall_ns);
CREATE INDEX connections_by_process ON connections (process, wall_ns);
CREATE INDEX connections_by_thread ON connections (comm, wall_ns) WHERE comm <> process;

CREATE TABLE drops (
    id INTEGER PRIMARY KEY,
    wall_ns INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    attribution TEXT NOT NULL,
    pid INTEGER,
    tid INTEGER,
    uid INTEGER,
    cgroup_id INTEGER,
    started_ns INTEGER,
    comm TEXT,
    process TEXT,
    exe TEXT,
    reason_code INTEGER,
    reason TEXT NOT NULL,
    location TEXT NOT NULL,
    family INTEGER NOT NULL,
    source_ip BLOB,
    source_port INTEGER,
    destination_ip BLOB,
    destination_port INTEGER,
    protocol INTEGER NOT NULL,
    length INTEGER NOT NULL,
    ether_type INTEGER NOT NULL,
    interface INTEGER NOT NULL,
    netns INTEGER NOT NULL
) STRICT;
CREATE INDEX drops_by_time ON drops (wall_ns);
CREATE INDEX drops_by_pid ON drops (pid, wall_ns) WHERE pid IS NOT NULL;
CREATE INDEX drops_by_process ON drops (process, wall_ns) WHERE process IS NOT NULL;
CREATE INDEX drops_by_thread ON drops (comm, wall_ns) WHERE comm <> process;

CREATE TABLE losses (
    wall_ns INTEGER NOT NULL,
    place TEXT NOT NULL,
    count INTEGER NOT NULL
) STRICT;
CREATE INDEX losses_by_time ON losses (wall_ns);

-- What its writer wrote: an established and closed connection with a v4-mapped address, a refused one, one to a
-- UNIX socket that is pending, an owned and an unowned drop, a loss.
INSERT INTO connections VALUES
    (1, 60000000001, 11, 42, 43, 1000, 9, 8, 'worker', 'curl', '/usr/bin/curl', 10,
     X'00000000000000000000FFFF0A000001', 40000, X'00000000000000000000FFFF5DB8D822', 443, 6, 4026531840,
     'inbound', 1, 1, NULL, NULL, 'established', 20, NULL, NULL, 30, 100, 200, NULL, NULL, 40, 2, 50,
     'closed_by_peer', 0),
    (2, 60000000002, 12, 42, 42, 1000, 9, 8, 'curl', 'curl', NULL, 2,
     X'0A000001', 40001, X'0A000002', 81, 6, 4026531840,
     'outbound', 0, 1, NULL, NULL, 'refused', 21, 111, 'handshake', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL),
    (-3, 60000000003, 13, 7, 7, 0, 0, 0, 'sshd', 'sshd', NULL, 1,
     NULL, NULL, NULL, NULL, 0, 0,
     'outbound', 0, 5, '@/run/x', 99, 'pending', NULL, NULL, NULL, NULL, 1, 2, 3, 4, NULL, NULL, NULL, NULL, NULL);
INSERT INTO drops VALUES
    (4, 60000000004, 14, 'socket', 42, 43, 1000, 9, 8, 'worker', 'curl', '/usr/bin/curl', 6, 'NO_SOCKET',
     'tcp_v4_rcv+0x84', 2, X'0A000001', 1, X'0A000002', 2, 6, 60, 2048, 2, 1),
    (5, 60000000005, 15, 'none', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'UNCLASSIFIED',
     'unresolved', 0, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0);
INSERT INTO losses VALUES (60000000006, 'store', 7);
PRAGMA application_id = 1853059193;
PRAGMA user_version = 2;
PRAGMA journal_mode = WAL;
