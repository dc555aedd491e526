package clustertest

// Rows that commands print with -o json. Each type has the fields that some test looks at;
// docs/operating.md and the commands' help have all of them.

// CheckRow is what check prints with -o json.
type CheckRow struct {
	OK     bool `json:"ok"`
	Groups []struct {
		ID        int    `json:"id"`
		Index     uint64 `json:"index"`
		Replicas  int    `json:"replicas"`
		Agree     bool   `json:"agree"`
		Why       string `json:"why"`
		Differing []struct {
			Node  string   `json:"node"`
			State string   `json:"state"`
			Parts []string `json:"parts"`
		} `json:"differing"`
	} `json:"groups"`
}

// JobRow is a job, as job list and job show print it.
type JobRow struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	State string `json:"state"`
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"`
	Unit  string `json:"unit"`
}

// GroupRow is a group, as status prints it.
type GroupRow struct {
	ID       int    `json:"id"`
	Leader   string `json:"leader"`
	Term     uint64 `json:"term"`
	Replicas []struct {
		ID    string `json:"id"`
		State string `json:"state"`
	} `json:"replicas"`
}
