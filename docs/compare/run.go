package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"muster/docs/compare/figures"
	"muster/docs/compare/load"
	"muster/docs/compare/machine"
	"muster/docs/compare/system"
)

const (
	// othersMax is the share of the machine that other processes may use
	// before a window is run again.
	othersMax = 0.10
	// settle is how long writers write before and after a kill.
	settle = 2 * time.Second
)

// runner runs stages and keeps their rows.
type runner struct {
	options
	programs programs
	work     string
	file     io.Writer
	rows     []figures.Row
}

// run goes through all stages in every round. What fails with one system is
// returned at the end and keeps nobody else from being measured.
func (r *runner) run(ctx context.Context, stages []stage) error {
	var failed []error
	for round := 1; round <= r.rounds; round++ {
		for _, s := range stages {
			for _, name := range order(s.systems, round) {
				if ctx.Err() != nil {
					return errors.Join(append(failed, ctx.Err())...)
				}
				if err := r.one(ctx, round, s, name); err != nil {
					failed = append(failed, fmt.Errorf("round %d, %s: %w", round, name, err))
				}
			}
		}
	}
	return errors.Join(failed...)
}

// one takes one system through the cases of a stage, in a fresh folder.
func (r *runner) one(ctx context.Context, round int, s stage, name string) (err error) {
	dir, err := os.MkdirTemp(r.work, name+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	sys := r.system(name, s)
	defer sys.Stop()
	if err := sys.Start(dir); err != nil {
		return fmt.Errorf("%w\n%s", err, lastLines(dir))
	}
	if err := fill(sys, s); err != nil {
		return err
	}
	for _, c := range s.cases {
		row := figures.Row{Round: round, Case: c.name, System: name}
		var rows []figures.Row
		switch c.kind {
		case loop:
			rows, err = r.loop(ctx, sys, s, c, row)
		case failover:
			rows, err = r.failover(ctx, sys, s, c, row)
		case restart:
			rows, err = r.restart(ctx, sys, row)
		}
		if err := r.keep(rows); err != nil {
			return err
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// system makes one of the systems.
func (r *runner) system(name string, s stage) system.System {
	switch name {
	case etcd:
		return &system.Etcd{Program: r.programs.etcd}
	case dragonboat:
		return &system.Dragonboat{Program: r.programs.dragonboat}
	case redis:
		return &system.Redis{}
	case pipeline:
		return &system.Pipeline{Program: r.programs.pipeline, Keys: s.keys}
	}
	groups := s.groups
	if name == oneGroup {
		groups = 1
	}
	m := &system.Muster{Program: r.programs.muster, Label: name}
	if groups > 0 {
		m.Flags = []string{"--groups", strconv.Itoa(groups)}
	}
	return m
}

// fill puts every key once.
func fill(sys system.System, s stage) error {
	c, err := sys.Open(fillCallers)
	if err != nil {
		return err
	}
	defer c.Close()
	return load.Fill(c, s.keys, fillCallers, s.valueBytes)
}

// loop measures one window, again where other processes disturbed it; of several
// tries the least disturbed counts.
func (r *runner) loop(ctx context.Context, sys system.System, s stage, c testCase, row figures.Row) ([]figures.Row, error) {
	client, err := sys.Open(c.callers)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	l := load.Loop{Op: c.op, Callers: c.callers, Keys: s.keys, ValueBytes: s.valueBytes, Warmup: r.warmup, Window: r.window}
	var best figures.Row
	for try := range r.tries {
		if err := machine.AwaitQuiet(r.patience); err != nil {
			return nil, err
		}
		got, err := window(l, client, sys.Processes(), row)
		if err != nil {
			return nil, err
		}
		if try == 0 || got.Others < best.Others {
			best = got
		}
		if best.Others <= othersMax || ctx.Err() != nil {
			break
		}
	}
	return []figures.Row{best}, nil
}

// window runs a loop and divides by its operations.
func window(l load.Loop, client load.Asker, nodes []int, row figures.Row) (figures.Row, error) {
	var before, after sample
	var err error
	out := l.Run(client,
		func() { before, err = look(nodes) },
		func() {
			if err == nil {
				after, err = look(nodes)
			}
		})
	if err != nil {
		return row, err
	}
	if out.Ops == 0 {
		return row, fmt.Errorf("nothing was answered in %s (%d errors, last: %v)", l.Window, out.Errors, out.LastError)
	}
	perOp := func(d time.Duration) float64 { return micros(d) / float64(out.Ops) }
	nodeTime, clientTime := after.nodes-before.nodes, after.client-before.client
	row.OpsPerS = float64(out.Ops) / out.Took.Seconds()
	row.P50, row.P99 = micros(out.P50), micros(out.P99)
	row.NodeCPU, row.ClientCPU = perOp(nodeTime), perOp(clientTime)
	row.Others = machine.Others(before.all, after.all, nodeTime+clientTime)
	row.Errors = out.Errors
	if out.LastError != nil {
		row.LastError = out.LastError.Error()
	}
	return row, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// sample is processor time so far.
type sample struct {
	nodes, client time.Duration
	all           machine.Use
}

func look(nodes []int) (s sample, err error) {
	if s.nodes, err = machine.ProcessTimes(nodes); err != nil {
		return s, err
	}
	if s.client, err = machine.ProcessTime(os.Getpid()); err != nil {
		return s, err
	}
	s.all, err = machine.Now()
	return s, err
}

// failover kills the leader again and again; the node is back before the next.
func (r *runner) failover(ctx context.Context, sys system.System, s stage, c testCase, row figures.Row) (rows []figures.Row, err error) {
	cluster, ok := sys.(system.Cluster)
	if !ok {
		return nil, fmt.Errorf("%s has no leader to kill", sys.Name())
	}
	for range r.kills {
		if ctx.Err() != nil {
			return rows, nil
		}
		client, err := cluster.OpenForFailover(c.callers)
		if err != nil {
			return rows, err
		}
		leader, err := cluster.Leader()
		if err == nil {
			var met load.Interruption
			met, err = load.Interrupt(client, c.callers, s.keys, s.valueBytes, settle, func() error {
				cluster.Kill(leader)
				return nil
			})
			row.Seconds, row.Errors = met.Longest.Seconds(), met.Failed
		}
		client.Close()
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
		if err := cluster.Restart(leader); err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// restart kills all nodes and starts them again and again.
func (r *runner) restart(ctx context.Context, sys system.System, row figures.Row) (rows []figures.Row, err error) {
	again, ok := sys.(system.Restartable)
	if !ok {
		return nil, fmt.Errorf("%s can't be restarted", sys.Name())
	}
	for range r.restarts {
		if ctx.Err() != nil {
			return rows, nil
		}
		// Nodes at work behind the load, as with snapshots, would be cut short.
		if err := machine.AwaitQuiet(r.patience); err != nil {
			return rows, err
		}
		sys.Stop()
		took, err := again.RestartAll()
		if err != nil {
			return rows, err
		}
		row.Seconds = took.Seconds()
		rows = append(rows, row)
	}
	return rows, nil
}

// keep writes rows to the file and says how it goes.
func (r *runner) keep(rows []figures.Row) error {
	for _, row := range rows {
		r.rows = append(r.rows, row)
		if err := figures.Write(r.file, row); err != nil {
			return err
		}
		if row.Seconds > 0 {
			fmt.Fprintf(os.Stderr, "round %d  %-18s %-14s %.3f s\n", row.Round, row.Case, row.System, row.Seconds)
			continue
		}
		fmt.Fprintf(os.Stderr, "round %d  %-18s %-14s %9.0f ops/s  %8.1f µs of the nodes, %6.1f of the client  others %.0f %%  errors %d\n",
			row.Round, row.Case, row.System, row.OpsPerS, row.NodeCPU, row.ClientCPU, 100*row.Others, row.Errors)
	}
	return nil
}

// lastBytes is how much of a log explains a failed start.
const lastBytes = 2000

// lastLines is the end of every node's log under dir.
func lastLines(dir string) (all string) {
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return err.Error()
	}
	for _, name := range logs {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		all += fmt.Sprintf("%s:\n%s\n", filepath.Base(name), b[max(0, len(b)-lastBytes):])
	}
	return all
}
