// Package figures turns the rows of a run into ratios.
//
// It measures nothing. A run goes through its cases in rounds, each system once
// in every round; what is compared is always within one round.
package figures

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// Subject is the system that all others are compared with.
const Subject = "muster"

// Row is one system in one case of one round.
type Row struct {
	Round  int    `json:"round"` // from 1
	Case   string `json:"case"`
	System string `json:"system"`

	// Of a closed loop; 0 in other rows.
	OpsPerS   float64 `json:"ops_per_s,omitempty"`
	P50       float64 `json:"p50_us,omitempty"`
	P99       float64 `json:"p99_us,omitempty"`
	NodeCPU   float64 `json:"node_cpu_us_per_op,omitempty"` // of all nodes
	ClientCPU float64 `json:"client_cpu_us_per_op,omitempty"`
	// Others is the share of the machine that other processes used meanwhile.
	Others float64 `json:"others_share,omitempty"`

	// Seconds is how long an outage or a restart was; 0 in rows of a loop.
	Seconds float64 `json:"seconds,omitempty"`

	Errors    uint64 `json:"errors"`
	LastError string `json:"last_error,omitempty"`
}

// Write appends a row as one line of JSON.
func Write(to io.Writer, r Row) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = to.Write(append(b, '\n'))
	return err
}

// Read reads rows, one a line.
func Read(from io.Reader) (rows []Row, err error) {
	lines := bufio.NewScanner(from)
	for n := 1; lines.Scan(); n++ {
		var r Row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		rows = append(rows, r)
	}
	return rows, lines.Err()
}
