package metrics

// Kind is what Prometheus calls the type of a metric.
type Kind string

// The kinds of metrics.
const (
	Counter   Kind = "counter"   // grows until the process ends
	Gauge     Kind = "gauge"     // as it is now
	Histogram Kind = "histogram" // how many were at most so large, by size
)

// Metric is a row of the table of all that a node tells of itself.
type Metric struct {
	Name   string
	Kind   Kind
	Unit   string   // of the value; "" where it is a number of things, or a yes (1) or no (0)
	Labels []string // in the order in which [Page.Add] takes their values
	Help   string   // a sentence
	Seldom bool     // there may be no sample of it, as where nothing has been refused yet
}

// ID is the place of a metric in the table.
type ID int

// The metrics of a node. Those from GoGoroutines on are of its process.
const (
	BuildInfo ID = iota
	NodeInfo
	NodeMember
	NodeLoopAnswers
	NodeInFlight
	ClusterLevel
	ClusterNodes
	ClusterIncidents
	TableIndex

	Requests
	RequestsRefused
	RequestDuration
	RequestStage
	Frames
	FrameBytes
	HTTPRequests
	HTTPDuration

	LogSync
	LogSyncUnderWay
	LogWritten
	LogEntries
	LogMoved
	LogFilled
	LogBatches
	LogSize
	LogNeeded
	LogSegments
	SnapshotsWritten
	SnapshotBytes

	PointsMemory
	PointsMemoryMax
	PointsRefused
	PointsLimitUsed
	BlockFiles
	BlockFileBytes
	BlockFilesMade

	DiskFree
	DiskFull
	DiskStalled

	RaftRole
	RaftLeaderKnown
	RaftServes
	RaftTerm
	RaftLast
	RaftCommit
	RaftApplied
	RaftFollowerLag
	RaftFollowerHeard
	GroupBytes
	GroupKeys
	GroupSessions
	GroupSessionsMax
	GroupLeases

	PeersHeard
	PeersRTT

	JobsOpen
	JobsStuck
	BackupAge
	BackupDue
	BackupsTaken
	Hints
	HintBytes
	HintsTaken
	HintsEnded
	MovesOpen
	MovesStuck
	MovedSlots
	MovedBytes
	MovePause

	Watches
	WatchesMax

	Services
	ServiceChecks
	ServiceHomeless
	ChecksHere
	Probes
	ProbesFailed
	ProbesLate
	Webhooks
	WebhooksFailed

	Connections
	ConnectionsMax
	ConnectionsRefused

	CertificateEnds
	TrailLines
	TrailMissing

	Audits
	Mends

	GoGoroutines
	GoThreads
	GoMaxProcs
	GoHeapAlloc
	GoHeapInuse
	GoStack
	GoAllocated
	GoMallocs
	GoCPU
	GoLatency
	GoPauses
	GoInfo
	ProcessCPU
	ProcessMemory
	ProcessThreads
	ProcessStart
	ProcessOpen
	ProcessOpenMax
	ProcessRead
	ProcessWritten

	end
)

var table = [end]Metric{
	BuildInfo:        {"muster_build_info", Gauge, "", []string{"version", "goversion", "level"}, "The build that this node runs, and the level of the newest commands that it understands; always 1.", false},
	NodeInfo:         {"muster_node_info", Gauge, "", []string{"cluster", "node", "name", "role"}, "The cluster and the node of the process; always 1.", true},
	NodeMember:       {"muster_node_member", Gauge, "", nil, "Whether this node is a member of a cluster.", false},
	NodeLoopAnswers:  {"muster_node_loop_answers", Gauge, "", nil, "Whether the loop that owns all replicas answered this scrape in time; if not, all that only the loop knows is missing.", false},
	NodeInFlight:     {"muster_node_in_flight_bytes", Gauge, "bytes", nil, "Memory taken by requests that are not answered yet and by answers that are not sent yet.", false},
	ClusterLevel:     {"muster_cluster_level", Gauge, "", nil, "The level of the newest commands that the cluster takes.", true},
	ClusterNodes:     {"muster_cluster_nodes", Gauge, "", []string{"status"}, "Nodes of the cluster by what this node has heard of them.", true},
	ClusterIncidents: {"muster_cluster_incidents_total", Counter, "", nil, "Replicas of the cluster whose state was found to be wrong since the founding.", true},
	TableIndex:       {"muster_table_index", Gauge, "", nil, "The index of the entry of the meta group that this node's table is of; nodes that differ for long are cut off.", true},

	Requests:        {"muster_requests_total", Counter, "", []string{"type"}, "Requests that were received from clients and other nodes, by the type of their message.", true},
	RequestsRefused: {"muster_requests_refused_total", Counter, "", []string{"type", "code"}, "Requests that were answered with an error, by the type of their message and the code of the error.", true},
	RequestDuration: {"muster_request_duration_seconds", Histogram, "seconds", []string{"kind"}, "How long writes and reads took at the node that led their group, from when they were read off a connection to when their answer was handed to it; what was refused is left out.", true},
	RequestStage:    {"muster_request_stage_duration_seconds", Histogram, "seconds", []string{"kind", "stage"}, "How long the stages of writes and reads took; log and commit of a write begin together and overlap.", true},
	Frames:          {"muster_frames_total", Counter, "", []string{"type", "direction"}, "Frames of our protocol by the type of their message.", true},
	FrameBytes:      {"muster_frame_bytes_total", Counter, "bytes", []string{"type", "direction"}, "Bytes of frames of our protocol by the type of their message.", true},

	HTTPRequests: {"muster_http_requests_total", Counter, "", []string{"route", "code"}, "Requests over HTTP that were answered, by their route and the class of the status; code is none if there was no answer, and route is other where nothing is served.", true},
	HTTPDuration: {"muster_http_request_duration_seconds", Histogram, "seconds", nil, "How long requests over HTTP took, from when their head was read to when their answer was made; streams, waits for jobs and profiles are left out.", true},

	LogSync:          {"muster_log_sync_duration_seconds", Histogram, "seconds", nil, "How long a write of the log and its sync took.", true},
	LogSyncUnderWay:  {"muster_log_sync_under_way_seconds", Gauge, "seconds", nil, "For how long the write of the log that is under way has waited; 0 if none is.", true},
	LogWritten:       {"muster_log_written_bytes_total", Counter, "bytes", nil, "Bytes written to the log in batches.", true},
	LogEntries:       {"muster_log_entry_bytes_total", Counter, "bytes", nil, "Bytes of the groups' entries within what was written to the log.", true},
	LogMoved:         {"muster_log_moved_bytes_total", Counter, "bytes", nil, "Bytes of records that were copied forward within the log, so that a segment could be used again.", true},
	LogFilled:        {"muster_log_filled_bytes_total", Counter, "bytes", nil, "Bytes of new segments that were filled with zeros.", true},
	LogBatches:       {"muster_log_batches_total", Counter, "", nil, "Batches written to the log, each with one sync.", true},
	LogSize:          {"muster_log_size_bytes", Gauge, "bytes", nil, "The size of all segments of the log.", true},
	LogNeeded:        {"muster_log_needed_bytes", Gauge, "bytes", nil, "Bytes of records in the log that are still needed.", true},
	LogSegments:      {"muster_log_segments", Gauge, "", nil, "Segments of the log, with those prepared for later.", true},
	SnapshotsWritten: {"muster_snapshots_written_total", Counter, "", nil, "Snapshots that were written or received whole.", true},
	SnapshotBytes:    {"muster_snapshot_written_bytes_total", Counter, "bytes", nil, "Bytes of snapshots that were written or received.", true},

	PointsMemory:    {"muster_points_memory_bytes", Gauge, "bytes", nil, "Memory of points that are in no file yet, those included whose file is being made.", true},
	PointsMemoryMax: {"muster_points_memory_max_bytes", Gauge, "bytes", nil, "What --points-memory allows of it.", true},
	PointsRefused:   {"muster_points_refused", Gauge, "", nil, "Whether points are refused as busy, because those in memory take more than that.", true},
	PointsLimitUsed: {"muster_points_limit_used_ratio", Gauge, "", []string{"database", "limit"}, "Which part of a limit of the database the shard here has that is nearest to it: series, values of a tag, or fields. At 1 new ones are dropped. It is looked at once a minute.", true},
	BlockFiles:      {"muster_block_files", Gauge, "", nil, "Block files of points that are here, and not known to be damaged.", true},
	BlockFileBytes:  {"muster_block_file_bytes", Gauge, "bytes", nil, "Bytes of these.", true},
	BlockFilesMade:  {"muster_block_files_made_total", Counter, "", []string{"how"}, "Block files that were made of points in memory, fetched from another node, or removed because nothing needs them.", true},

	DiskFree:    {"muster_disk_free_bytes", Gauge, "bytes", nil, "Room on the disk of the data directory; missing where the system does not say.", true},
	DiskFull:    {"muster_disk_full", Gauge, "", nil, "Whether the disk has no room for more of the log: writes are refused.", true},
	DiskStalled: {"muster_disk_stalled_seconds", Gauge, "seconds", nil, "For how long an operation on the disk has waited, once that is longer than an election timeout; else 0.", false},

	RaftRole:          {"muster_raft_role", Gauge, "", []string{"group", "role"}, "The role of this node's replica of a group; always 1.", true},
	RaftLeaderKnown:   {"muster_raft_leader_known", Gauge, "", []string{"group"}, "Whether this node's replica of a group knows who leads it.", true},
	RaftServes:        {"muster_raft_serves", Gauge, "", []string{"group"}, "Whether this node's replica of a group takes part in it: it is not damaged, fenced, held or stopped.", true},
	RaftTerm:          {"muster_raft_term", Gauge, "", []string{"group"}, "The term of a group, as its replica here knows it; each election raises it.", true},
	RaftLast:          {"muster_raft_last_index", Gauge, "", []string{"group"}, "The index of the last entry in the log of the replica here.", true},
	RaftCommit:        {"muster_raft_commit_index", Gauge, "", []string{"group"}, "The index up to which the replica here knows entries to be committed.", true},
	RaftApplied:       {"muster_raft_applied_index", Gauge, "", []string{"group"}, "The index up to which entries are applied to the replica here.", true},
	RaftFollowerLag:   {"muster_raft_follower_lag_entries", Gauge, "", []string{"group", "node"}, "How many entries of its leader's log another replica has not confirmed to have on disk; the leader of the group tells it.", true},
	RaftFollowerHeard: {"muster_raft_follower_active", Gauge, "", []string{"group", "node"}, "Whether the leader of a group has heard of another replica within an election timeout; the leader tells it.", true},
	GroupBytes:        {"muster_group_bytes", Gauge, "bytes", []string{"group"}, "About how much another replica would have to be sent to have the state of the replica here.", true},
	GroupKeys:         {"muster_group_keys", Gauge, "", []string{"group"}, "Keys in the slots of a group; the leader of the group tells it.", true},
	GroupSessions:     {"muster_group_sessions", Gauge, "", []string{"group"}, "Sessions of clients that a group remembers; the leader of the group tells it.", true},
	GroupSessionsMax:  {"muster_group_sessions_max", Gauge, "", []string{"group"}, "How many sessions a group remembers before it refuses new clients; the leader of the group tells it.", true},
	GroupLeases:       {"muster_group_leases", Gauge, "", []string{"group"}, "Leases in a group; the leader of the group tells it.", true},

	PeersHeard: {"muster_peer_heard_seconds", Gauge, "seconds", []string{"node"}, "How long ago this node heard of another one last; missing for one of which it never heard.", true},
	PeersRTT:   {"muster_peer_round_trip_seconds", Gauge, "seconds", []string{"node"}, "The last round trip to another node; missing while there is no connection to it.", true},

	JobsOpen:     {"muster_jobs", Gauge, "", []string{"state"}, "Jobs of the cluster that are not finished, by this node's table.", true},
	JobsStuck:    {"muster_jobs_stuck", Gauge, "", nil, "Running jobs that have shown no progress for 10 minutes.", true},
	BackupAge:    {"muster_backup_age_seconds", Gauge, "seconds", nil, "How long ago the last good backup in a directory of a node was begun, by this node's table; missing before there is one.", true},
	BackupDue:    {"muster_backup_every_seconds", Gauge, "seconds", nil, "How long after the last good backup the schedule wants the next one; missing where there is no schedule.", true},
	BackupsTaken: {"muster_backups_total", Counter, "", []string{"outcome"}, "Backups that this node began to take for jobs, by whether they were verified and kept, or failed.", true},

	Hints:      {"muster_hints", Gauge, "", nil, "Hints that wait here: writes of points whose group could not take them.", true},
	HintBytes:  {"muster_hint_bytes", Gauge, "bytes", nil, "Bytes of these on the disk.", true},
	HintsTaken: {"muster_hints_taken_total", Counter, "", []string{"outcome"}, "Hints that this node was asked to keep, by whether they were kept, or one limit was full.", true},
	HintsEnded: {"muster_hints_ended_total", Counter, "", []string{"outcome"}, "Hints that wait here no more: they arrived at their group, went to a dead letter, or were purged by a person.", true},

	MovesOpen:  {"muster_slot_moves", Gauge, "", nil, "Slots that are on their way to another group, by this node's table.", true},
	MovesStuck: {"muster_slot_moves_stuck", Gauge, "", nil, "Slots of groups led here on whose way nothing has happened for half a minute.", true},
	MovedSlots: {"muster_slots_moved_total", Counter, "", []string{"outcome"}, "Slots of groups led here that other groups took over, or refused to.", true},
	MovedBytes: {"muster_slot_move_sent_bytes_total", Counter, "bytes", nil, "Bytes of slots of groups led here that were sent to other groups.", true},
	MovePause:  {"muster_slot_move_pause_max_seconds", Gauge, "seconds", nil, "The longest time since the start from a slot's seal until its target had taken it over.", true},

	Watches:    {"muster_watches", Gauge, "", nil, "Watches that clients have open at this node.", true},
	WatchesMax: {"muster_watches_max", Gauge, "", nil, "How many watches this node takes.", true},

	Services:        {"muster_services", Gauge, "", nil, "Services in groups that this node leads.", true},
	ServiceChecks:   {"muster_service_checks_assigned", Gauge, "", nil, "Checks of services in groups led here that are assigned to some node.", true},
	ServiceHomeless: {"muster_service_checks_homeless", Gauge, "", nil, "Checks of services in groups led here that no node can run.", true},
	ChecksHere:      {"muster_checks", Gauge, "", nil, "Checks that this node runs.", true},
	Probes:          {"muster_check_probes_total", Counter, "", nil, "Probes of checks that this node has begun.", true},
	ProbesFailed:    {"muster_check_probes_failed_total", Counter, "", nil, "Probes of checks that found their target not to be up.", true},
	ProbesLate:      {"muster_check_probes_late_total", Counter, "", nil, "Probes of checks that began late because too many were under way.", true},
	Webhooks:        {"muster_webhooks_total", Counter, "", nil, "Changes of services that webhooks were told of.", true},
	WebhooksFailed:  {"muster_webhooks_failed_total", Counter, "", nil, "Tries to tell a webhook that failed.", true},

	Connections:        {"muster_connections", Gauge, "", []string{"kind"}, "Connections by what they have proven to be.", false},
	ConnectionsMax:     {"muster_connections_max", Gauge, "", []string{"kind"}, "How many connections of a kind this node takes.", false},
	ConnectionsRefused: {"muster_connections_refused_total", Counter, "", []string{"reason"}, "Connections that were turned away before or at their hello, by reason.", true},

	CertificateEnds: {"muster_certificate_not_after_timestamp_seconds", Gauge, "seconds", []string{"kind", "root"}, "When a certificate ends, in seconds since 1970: this node's own, and the roots of the cluster.", true},
	TrailLines:      {"muster_trail_lines_total", Counter, "", nil, "Lines of the trail that are on the disk.", false},
	TrailMissing:    {"muster_trail_missing", Gauge, "", nil, "Events that have no line in the trail: not yet, or for good.", false},

	Audits: {"muster_audit_total", Counter, "", []string{"what"}, "Comparisons, faults and rebuilt replicas, as this node counts them.", true},
	Mends:  {"muster_mend_total", Counter, "", []string{"what"}, "Damaged replicas, questions about them and mended entries, as this node counts them.", true},

	GoGoroutines: {"go_goroutines", Gauge, "", nil, "Goroutines of the process.", false},
	GoThreads:    {"go_threads", Gauge, "", nil, "Threads of the system that the Go runtime has made.", false},
	GoMaxProcs:   {"go_gomaxprocs", Gauge, "", nil, "How many threads run Go code at once.", false},
	GoHeapAlloc:  {"go_memstats_heap_alloc_bytes", Gauge, "bytes", nil, "Objects on the heap that live, or are not collected yet.", false},
	GoHeapInuse:  {"go_memstats_heap_inuse_bytes", Gauge, "bytes", nil, "Memory of the heap that has objects in it.", false},
	GoStack:      {"go_memstats_stack_inuse_bytes", Gauge, "bytes", nil, "Memory of the goroutines' stacks.", false},
	GoAllocated:  {"go_memstats_alloc_bytes_total", Counter, "bytes", nil, "Bytes of all objects that were ever made on the heap.", false},
	GoMallocs:    {"go_memstats_mallocs_total", Counter, "", nil, "Objects that were ever made on the heap.", false},
	GoCPU:        {"go_gc_cpu_seconds_total", Counter, "seconds", nil, "Processor time of garbage collection, as the Go runtime estimates it.", false},
	GoLatency:    {"go_sched_latencies_seconds", Histogram, "seconds", nil, "How long goroutines were ready before they ran.", false},
	GoPauses:     {"go_gc_pauses_seconds", Histogram, "seconds", nil, "How long garbage collection stopped the process.", false},
	GoInfo:       {"go_info", Gauge, "", []string{"version"}, "The version of Go that built the process; always 1.", false},

	ProcessCPU:     {"process_cpu_seconds_total", Counter, "seconds", nil, "Processor time of the process, user and system.", true},
	ProcessMemory:  {"process_resident_memory_bytes", Gauge, "bytes", nil, "Memory of the process that is in RAM.", true},
	ProcessThreads: {"process_num_threads", Gauge, "", nil, "Threads of the process.", true},
	ProcessStart:   {"process_start_time_seconds", Gauge, "seconds", nil, "When the process started, in seconds since 1970.", true},
	ProcessOpen:    {"process_open_fds", Gauge, "", nil, "Files and sockets that the process has open.", true},
	ProcessOpenMax: {"process_max_fds", Gauge, "", nil, "How many files and sockets the process may have open.", true},
	ProcessRead:    {"process_io_storage_read_bytes_total", Counter, "bytes", nil, "Bytes that the process had the disk read.", true},
	ProcessWritten: {"process_io_storage_written_bytes_total", Counter, "bytes", nil, "Bytes that the process had the disk write.", true},
}

// Table returns all metrics, in the order in which a page has them.
func Table() []Metric { return table[:] }

// firstOfProcess is the first of the metrics of the process.
const firstOfProcess = GoGoroutines
