package trial

import "muster/node/trial/clustertest"

// What these tests read of what the commands print with -o json. Each has the
// fields that some test looks at; docs/operating.md and the commands' help have
// all of them.

type statusRow struct {
	Nodes    []nodeRow              `json:"nodes"`
	Groups   []clustertest.GroupRow `json:"groups"`
	Healthy  bool                   `json:"healthy"`
	Problems []problemRow           `json:"problems"`
	Notes    []problemRow           `json:"notes"`
	Counters []struct {
		In  uint64 `json:"in"`
		Out uint64 `json:"out"`
	} `json:"counters"`
	Disk *struct {
		EntryBytes  uint64 `json:"entry_bytes"`
		LogBytes    uint64 `json:"log_bytes"`
		FilledBytes uint64 `json:"filled_bytes"`
	} `json:"disk"`
}

type nodeRow struct {
	Name    string `json:"name"`
	Addr    string `json:"addr"`
	Status  string `json:"status"`
	Version string `json:"version"`
}

type problemRow struct {
	What   string `json:"what"`
	Remedy string `json:"remedy"`
}

type doctorRow struct {
	OK       bool         `json:"ok"`
	Findings []findingRow `json:"findings"`
	Nodes    []struct {
		Answered    bool   `json:"answered"`
		Start       uint64 `json:"start"`
		Syncs       uint64 `json:"syncs"`
		SyncP50     uint64 `json:"sync_p50_us"`
		SyncP99     uint64 `json:"sync_p99_us"`
		FreeBytes   uint64 `json:"free_bytes"`
		LogBytes    uint64 `json:"log_bytes"`
		NeededBytes uint64 `json:"needed_bytes"`
	} `json:"nodes"`
	Links []struct {
		To      string `json:"to"`
		Reached bool   `json:"reached"`
		Heard   bool   `json:"heard"`
		RTTus   uint64 `json:"rtt_us"`
		Why     string `json:"why"`
	} `json:"links"`
}

type findingRow struct {
	Severity string `json:"severity"`
	What     string `json:"what"`
	Remedy   string `json:"remedy"`
}

// severityError is the severity that makes doctor end with status 1.
const severityError = "error"

// diffRow is how log diff compares one group.
type diffRow struct {
	Group    int    `json:"group"`
	Common   string `json:"common"`
	Diverged bool   `json:"diverged"`
}

// lineRow is a line of kv export.
type lineRow struct {
	Key *string `json:"key"`
}
