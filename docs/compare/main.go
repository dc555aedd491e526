// Command compare measures muster beside other systems, in turns on one machine.
//
// It prints the ratios of one run. README.md has the command, what each system does
// for a write, and how to read the result.
//
// plan.go says what is run, run.go runs it, build.go makes the programs, page.go
// writes what is published. The
// packages below: figures has the arithmetic, load asks, system drives each of
// the systems, machine counts, frame is what dragonboat's front speaks, and
// nodes/ are the servers that have no binary of their own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"muster/docs/compare/figures"
	"muster/docs/compare/machine"
	"muster/docs/compare/system"
)

func main() {
	o := options{}
	flag.StringVar(&o.cases, "cases", "", "only cases that match one of these `PATTERNS`, with commas between, as in put/*,restart")
	flag.StringVar(&o.systems, "systems", "", "only these `SYSTEMS`, with commas between")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each system goes through each case")
	flag.DurationVar(&o.window, "window", 3*time.Second, "how long a loop is counted")
	flag.DurationVar(&o.warmup, "warmup", time.Second, "how long a loop runs before it is counted")
	flag.IntVar(&o.kills, "kills", 5, "how often a round kills the leader")
	flag.IntVar(&o.restarts, "restarts", 3, "how often a round restarts all nodes")
	flag.IntVar(&o.restartKeys, "restart-keys", 1_000_000, "how many keys there are at a restart")
	flag.DurationVar(&o.patience, "patience", 5*time.Second, "how long each window waits at most for other processes to be quiet")
	flag.IntVar(&o.tries, "tries", 3, "how often a window is run at most, where other processes disturbed it")
	flag.StringVar(&o.checkout, "checkout", "../..", "the `FOLDER` of the muster that is measured")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "the `FOLDER`, on a disk, for data and programs; what is made there is removed")
	flag.StringVar(&o.rows, "rows", "rows.jsonl", "the `FILE` for the rows, written anew")
	flag.StringVar(&o.page, "page", "", "a markdown `FILE` that gets the ratios between its marks, as performance.md has them")
	list := flag.Bool("list", false, "list the cases and their systems, and do nothing")
	flag.Usage = usage
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *list:
		err = printPlan(o)
	case flag.NArg() > 0:
		err = printFiles(flag.Args(), o.page)
	default:
		err = compare(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprint(os.Stderr, `go -C docs/compare run . [flags]                 measures, and prints ratios
go -C docs/compare run . [-page FILE] FILE...    prints the ratios of rows that are there

`)
	flag.PrintDefaults()
}

// printPlan lists what would be run.
func printPlan(o options) error {
	stages, err := plan(o)
	if err != nil {
		return err
	}
	for _, s := range stages {
		for _, c := range s.cases {
			fmt.Printf("%-20s %v\n", c.name, s.systems)
		}
	}
	return nil
}

// printFiles prints the tables of rows from earlier runs, and puts the ratios into a page
// if there is one: so a run that one system's failure ended before it wrote its page is
// not lost.
func printFiles(files []string, page string) error {
	var rows []figures.Row
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		more, err := figures.Read(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rows = append(rows, more...)
	}
	err := printTables(rows)
	if err != nil || page == "" {
		return err
	}
	rounds := 0
	for _, r := range rows {
		rounds = max(rounds, r.Round)
	}
	return writePage(page, rows, rounds)
}

// printTables prints all tables.
func printTables(rows []figures.Row) error {
	return errors.Join(figures.PrintRatios(os.Stdout, rows), figures.PrintMedians(os.Stdout, rows))
}

// compare builds, measures and prints.
func compare(ctx context.Context, o options) (err error) {
	stages, err := plan(o)
	if err != nil {
		return err
	}
	if err := installed(stages); err != nil {
		return err
	}
	work, err := os.MkdirTemp(o.dir, "compare-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := machine.OnDisk(work); err != nil {
		return err
	}
	file, err := os.Create(o.rows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	p, err := build(ctx, o.checkout, work)
	if err != nil {
		return err
	}
	r := &runner{options: o, programs: p, work: work, file: file}
	// What was measured before something failed, or the user had enough, is shown.
	failed := r.run(ctx, stages)
	fmt.Printf("%s\n\n", machine.Describe())
	shown := printTables(r.rows)
	if failed == nil && shown == nil && o.page != "" {
		return writePage(o.page, r.rows, o.rounds)
	}
	return errors.Join(failed, shown)
}

// installed returns an error for a system that is wanted and can't be built here.
func installed(stages []stage) error {
	for _, s := range stages {
		if !slices.Contains(s.systems, redis) {
			continue
		}
		if err := system.RedisInstalled(); err != nil {
			return fmt.Errorf("%w; install it, or name the -systems without it", err)
		}
	}
	return nil
}
