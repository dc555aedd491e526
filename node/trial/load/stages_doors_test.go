package load

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
)

// A stage is a part of what a set costs the nodes: a row of the table of
// docs/performance.md.
type stage string

// The stages, by who does the work. Each sample of a profile is in exactly one.
const (
	stageFrameRead stage = "frame read"
	stageFrameSum  stage = "checksums of frames, read and written"
	stageRoute     stage = "route: command checked, group found, bytes copied, handed to the loop"
	stagePropose   stage = "propose (leader)"
	stageSend      stage = "replicate: messages made and framed, mostly the leader's appends"
	stageTake      stage = "replicate: entries read, checked and taken over (followers)"
	stageAck       stage = "replicate: acknowledgements made, read, counted; heads of all messages"
	stageLoop      stage = "consensus book-keeping: Readies, commits, the loop around them"
	stageAppend    stage = "log append: records, directory, checksums"
	stageCommand   stage = "apply: command read"
	stageWarm      stage = "apply: memory touched ahead"
	stageSessions  stage = "apply: sessions"
	stageMap       stage = "apply: the map"
	stageAnswer    stage = "answer"

	stageSchedule stage = "scheduler: park, wake, look for work"
	stageWatcher  stage = "the runtime's watcher of blocking calls, kernel's part too"
	stageGarbage  stage = "allocation and garbage collection"
	stageClock    stage = "clock, timers, deadlines"
	stageRest     stage = "scrub, snapshots, heartbeats"

	stageReceive  stage = "kernel: network receive"
	stageTransmit stage = "kernel: network send, and its delivery on loopback"
	stageDisk     stage = "kernel: disk, and the calls to it"
	stageSwitch   stage = "kernel: switches, wake-ups, interrupts"
	stageMemory   stage = "kernel: page faults, memory"

	stageOther stage = "other"
)

// stages are all of them, in the order of the table.
var stages = []stage{
	stageFrameRead, stageFrameSum, stageRoute, stagePropose, stageSend, stageTake, stageAck, stageLoop, stageAppend,
	stageCommand, stageWarm, stageSessions, stageMap, stageAnswer,
	stageSchedule, stageWatcher, stageGarbage, stageClock, stageRest,
	stageReceive, stageTransmit, stageDisk, stageSwitch, stageMemory, stageOther,
}

// A door is a function by which a stage is entered. What it calls belongs to
// its stage, until another door: a checksum is the stage's that wants it.
type door struct {
	// name is a function, with its closures; a trailing * is any end of it.
	name string
	// under is a function that must be further out for the door to count;
	// empty: none must. A door with it stands before the one without.
	under string
	stage stage
}

// kernelDoors are the doors in the kernel. System calls are without the prefix
// of the processor, as __x64_.
var kernelDoors = []door{
	{"*", "runtime.sysmon", stageWatcher},
	{"__schedule", "", stageSwitch}, {"schedule*", "", stageSwitch}, {"eventfd_*", "", stageSwitch}, {"timerfd_*", "", stageSwitch},
	{"sys_futex*", "", stageSwitch}, {"sys_epoll_*", "", stageSwitch}, {"sys_nanosleep", "", stageSwitch},
	{"sys_sched_yield", "", stageSwitch}, {"sys_tgkill", "", stageSwitch}, {"sys_rt_sig*", "", stageSwitch},
	{"sys_clock_nanosleep", "", stageSwitch}, {"sys_timer*", "", stageSwitch},
	{"ksys_read", "", stageReceive}, {"sock_read_iter", "", stageReceive}, {"sys_recv*", "", stageReceive},
	{"ksys_write", "", stageTransmit}, {"sock_write_iter", "", stageTransmit}, {"sys_send*", "", stageTransmit},
	{"sys_pwrite*", "", stageDisk}, {"sys_pread*", "", stageDisk}, {"sys_fdatasync", "", stageDisk}, {"sys_fsync", "", stageDisk},
	{"sys_fallocate", "", stageDisk}, {"sys_ftruncate", "", stageDisk}, {"sys_rename*", "", stageDisk}, {"sys_unlink*", "", stageDisk},
	{"sys_open*", "", stageDisk}, {"sys_close", "", stageDisk}, {"sys_io_*", "", stageDisk},
	// Devices interrupt for the disk here: loopback has none.
	{"asm_common_interrupt", "", stageDisk},
	{"asm_sysvec_*", "", stageSwitch},
	{"asm_exc_page_fault", "", stageMemory}, {"sys_madvise", "", stageMemory}, {"sys_mmap", "", stageMemory}, {"sys_munmap", "", stageMemory},
}

// goDoors are the doors in the binary. TestStageDoors holds them to it.
var goDoors = []door{
	// A set's way, in its order.
	{"muster/node.(*door).receive", "", stageFrameRead},
	{"muster/node.(*connection).read", "", stageFrameRead},
	{"muster/repl/wire.(*Decoder).*", "", stageFrameRead},
	{"muster/repl/wire.frameChecksum", "", stageFrameSum},
	{"muster/node.(*connection).dispatch", "", stageRoute},
	{"muster/node.(*connection).handOn", "", stageRoute},
	{"muster/repl.(*Host).Propose", "", stagePropose},
	{"muster/repl.(*commandQueue).offer", "", stagePropose},
	{"muster/raft.(*Group).Propose", "", stagePropose},
	{"muster/raft.(*leader).feed", "", stageSend},
	{"muster/repl.(*heartbeats).send", "muster/repl.(*group).synced", stageAck}, // promises, after a sync
	{"muster/repl.(*heartbeats).send", "muster/repl.(*group).gather", stageAck},
	{"muster/repl.(*heartbeats).send", "", stageSend},
	{"muster/repl.(*Peers).Flush", "", stageSend},
	{"muster/repl.(*peer).run", "", stageSend},
	{"muster/repl/wire.readEntries", "", stageTake},
	{"muster/raft.(*Message).checkEntries", "", stageTake},
	{"muster/raft.(*replica).stepAppend", "", stageTake},
	{"muster/node.(*connection).dispatchWord", "", stageAck},
	{"muster/repl.(*Host).Receive", "", stageAck},
	{"muster/repl.(*Loop).writeLog", "", stageAppend},
	{"muster/repl.(*Loop).run", "", stageLoop},
	{"muster/repl.(*group).applyAll", "", stageMap},
	{"muster/repl/machine.ReadCommand", "", stageCommand},
	{"muster/repl/machine.(*Map).Expect", "", stageWarm},
	{"muster/shardmap.(*sessions).*", "", stageSessions},
	{"muster/repl/machine.appendResult", "", stageAnswer},
	{"muster/repl/wire.(*WriteAnswer).Append", "", stageAnswer},
	{"muster/node.(*connection).Answer", "", stageAnswer},
	{"muster/node.(*connection).Flush", "", stageAnswer},
	{"muster/node.(*connection).write", "", stageAnswer},

	// The calls to the system, from the side of the program.
	{"muster/logstore/vfs.*", "", stageDisk},
	{"internal/poll.(*FD).Read", "", stageReceive},
	{"internal/poll.(*FD).Write", "", stageTransmit},
	{"syscall.read", "", stageReceive},
	{"syscall.write", "", stageTransmit},

	// What goes on beside it.
	{"muster/repl.(*Loop).work", "", stageRest},
	{"muster/repl.(*Host).Tick", "", stageRest},
	{"muster/repl.(*Host).ReceiveBeat", "", stageRest},
	{"muster/repl.(*peer).listen", "", stageRest},
	{"muster/node.(*Node).scrub", "", stageRest},
	{"muster/node.(*Node).serve", "", stageRest},

	// The runtime.
	{"*", "runtime.sysmon", stageWatcher},
	{"runtime.mallocgc*", "", stageGarbage}, {"runtime.newobject", "", stageGarbage}, {"runtime.makeslice*", "", stageGarbage},
	{"runtime.growslice*", "", stageGarbage}, {"runtime.gc*", "", stageGarbage}, {"runtime.bgsweep", "", stageGarbage},
	{"runtime.bgscavenge", "", stageGarbage}, {"runtime.(*mheap).*", "", stageGarbage}, {"runtime.(*mcentral).*", "", stageGarbage},
	{"runtime.(*mcache).*", "", stageGarbage}, {"runtime.wbBufFlush*", "", stageGarbage}, {"runtime.bulkBarrier*", "", stageGarbage},
	{"runtime.stopTheWorld*", "", stageGarbage}, {"runtime.startTheWorld*", "", stageGarbage}, {"runtime.(*sweepLocked).*", "", stageGarbage},
	{"runtime.nanotime*", "", stageClock}, {"runtime.(*timer*", "", stageClock}, {"time.now", "", stageClock}, {"time.Now", "", stageClock},
	{"time.Since", "", stageClock}, {"time.(*Timer).*", "", stageClock}, {"internal/poll.setDeadlineImpl", "", stageClock},
	{"internal/poll.runtime_pollSetDeadline", "", stageClock},
	{"runtime.mcall", "", stageSchedule}, {"runtime.mstart*", "", stageSchedule}, {"runtime.schedule", "", stageSchedule},
	{"runtime.park_m", "", stageSchedule}, {"runtime.findRunnable", "", stageSchedule}, {"runtime.netpoll*", "", stageSchedule},
	{"runtime.gopark", "", stageSchedule}, {"runtime.ready", "", stageSchedule},
	{"runtime.wakep", "", stageSchedule}, {"runtime.startm", "", stageSchedule}, {"runtime.chansend*", "", stageSchedule},
	{"runtime.chanrecv*", "", stageSchedule}, {"runtime.selectgo", "", stageSchedule}, {"runtime.selectnb*", "", stageSchedule},
	{"runtime.sem*", "", stageSchedule}, {"runtime.entersyscall*", "", stageSchedule}, {"runtime.reentersyscall", "", stageSchedule},
	{"runtime.exitsyscall*", "", stageSchedule}, {"runtime.gosched*", "", stageSchedule},
	{"runtime.newstack", "", stageSchedule}, {"runtime.morestack*", "", stageSchedule}, {"runtime.asyncPreempt*", "", stageSchedule},
	{"runtime.futex*", "", stageSchedule}, {"runtime.usleep*", "", stageSchedule}, {"runtime.execute", "", stageSchedule},
	{"runtime.goexit0", "", stageSchedule}, {"runtime.gogo", "", stageSchedule}, {"runtime.sigtramp*", "", stageSchedule},
}

// isDoor reports whether a frame is the function of that name, or a closure or a
// variant of it.
func isDoor(frame, name string) bool {
	if start, any := strings.CutSuffix(name, "*"); any {
		return strings.HasPrefix(frame, start)
	}
	rest, ok := strings.CutPrefix(frame, name)
	return ok && (rest == "" || strings.ContainsRune(".-[", rune(rest[0])))
}

// stageOf returns the stage that a sample is in, by its call stack, innermost
// first: the one of the innermost frame that is a door.
func stageOf(stack []string) stage {
	for i, frame := range stack {
		for _, processor := range []string{"__x64_", "__arm64_"} {
			frame = strings.TrimPrefix(frame, processor)
		}
		for _, doors := range [][]door{kernelDoors, goDoors} {
			for _, d := range doors {
				if isDoor(frame, d.name) && (d.under == "" || anyIs(stack[i:], d.under)) {
					return d.stage
				}
			}
		}
	}
	return stageOther
}

func anyIs(stack []string, name string) bool {
	for _, frame := range stack {
		if isDoor(frame, name) {
			return true
		}
	}
	return false
}

// The innermost door decides, whatever is inside it, and a door under another
// before the same without.
func TestStageOf(t *testing.T) {
	const loop = " muster/repl.(*Host).Turn muster/repl.(*Loop).run muster/repl.StartLoop.gowrap1 runtime.goexit.abi0"
	for _, tt := range []struct {
		stack string // innermost first
		want  stage
	}{
		{"", stageOther},
		{"main.main runtime.main runtime.goexit.abi0", stageOther},
		{"muster/repl.(*Batch).report" + loop, stageLoop},
		{"hash/crc32.update muster/repl/wire.frameChecksum muster/repl/wire.EndFrame muster/repl.(*heartbeats).send" + loop, stageFrameSum},
		{"hash/crc32.update muster/logstore.sealRecord muster/logstore.(*Store).Append muster/repl.(*Loop).writeLog", stageAppend},
		{"runtime.memmove muster/repl/wire.AppendEnvelope muster/repl.(*heartbeats).send muster/repl.(*group).handle" + loop, stageSend},
		{"runtime.memmove muster/repl/wire.AppendEnvelope muster/repl.(*heartbeats).send muster/repl.(*group).synced" + loop, stageAck},
		{"muster/shardmap.ReadCommand muster/repl/machine.(*Requests).write muster/node.(*connection).dispatch muster/node.(*connection).read", stageRoute},
		{"muster/shardmap.ReadCommand muster/repl/machine.ReadCommand muster/repl/machine.(*Map).Expect muster/repl.(*group).applyAll" + loop, stageCommand},
		{"muster/shardmap.(*slotState).apply muster/repl.(*group).applyAll" + loop, stageMap},
		{"github.com/cespare/xxhash/v2.Sum64.abi0 muster/shardmap.(*sessions).finish muster/repl.(*group).applyAll" + loop, stageSessions},
		{"runtime.nextFreeFast runtime.mallocgcSmallNoscan runtime.mallocgc muster/repl.(*group).applyAll" + loop, stageGarbage},
		{"muster/repl.(*Loop).enqueue muster/node.(*connection).handOn.(*Loop).Propose.func1 muster/node.(*connection).read", stageRoute},
		{"muster/node.(*connection).reads muster/node.(*Node).scrub.func1", stageRest},
		{"tcp_v4_rcv tcp_sendmsg sock_write_iter vfs_write ksys_write do_syscall_64 syscall.write net.(*conn).Write muster/repl.(*peer).run", stageTransmit},
		{"do_syscall_64 syscall.Syscall syscall.write internal/poll.(*FD).Write muster/node.(*connection).write", stageTransmit},
		{"_copy_to_iter sock_read_iter vfs_read ksys_read do_syscall_64 syscall.read", stageReceive},
		{"eventfd_write vfs_write ksys_write do_syscall_64 runtime.netpollBreak", stageSwitch},
		{"finish_task_switch __schedule io_schedule iomap_dio_rw __x64_sys_pwrite64 syscall.pwrite muster/logstore/vfs.(*direct).write", stageSwitch},
		{"iowrite16 iomap_dio_rw __x64_sys_pwrite64 syscall.pwrite muster/logstore/vfs.(*direct).write", stageDisk},
		{"iowrite16 __arm64_sys_pwrite64 syscall.pwrite", stageDisk},
		{"finish_task_switch __schedule __x64_sys_nanosleep runtime.usleep.abi0 runtime.sysmon runtime.mstart1", stageWatcher},
		{"runtime.retake runtime.sysmon runtime.mstart1", stageWatcher},
		{"clear_page handle_mm_fault asm_exc_page_fault runtime.memclrNoHeapPointers runtime.mallocgc", stageMemory},
		{"__vdso_clock_gettime runtime.nanotime1.abi0 runtime.findRunnable runtime.schedule", stageClock},
	} {
		if got := stageOf(strings.Fields(tt.stack)); got != tt.want {
			t.Errorf("%s\n\tgot %q, want %q", tt.stack, got, tt.want)
		}
	}
}

// A function that is renamed, or inlined everywhere, would silently move its
// stage's time to the stage around it: each door must be in the binary.
func TestStageDoors(t *testing.T) {
	t.Parallel()
	functions := functionsOf(t)
	for problem := range missingDoors(goDoors, functions) {
		t.Error(problem)
	}
	known := map[stage]bool{stageOther: true}
	for _, s := range stages {
		known[s] = true
	}
	for _, doors := range [][]door{kernelDoors, goDoors} {
		for _, d := range doors {
			if !known[d.stage] {
				t.Errorf("door %s leads to %q, which is no row of the table", d.name, d.stage)
			}
		}
	}
	// The check must find what is wrong.
	for range missingDoors([]door{{"muster/repl.(*Loop).gone", "", stageLoop}}, functions) {
		return
	}
	t.Error("a door that is in no binary was not found")
}

// functionsOf returns the functions that are in the binary.
func functionsOf(t *testing.T) (functions []string) {
	t.Helper()
	out, err := exec.Command("go", "tool", "nm", clustertest.Binary()).Output()
	if err != nil {
		t.Fatalf("go tool nm: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) >= 3 && strings.EqualFold(f[1], "t") {
			functions = append(functions, f[2])
		}
	}
	return functions
}

// missingDoors returns what is said of doors that are none of functions.
func missingDoors(doors []door, functions []string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, d := range doors {
			for _, name := range []string{d.name, d.under} {
				if name == "" || name == "*" || anyIs(functions, name) {
					continue
				}
				if !yield(fmt.Sprintf("the binary has no function %s, by which %q is entered; has it been renamed or inlined?", name, d.stage)) {
					return
				}
			}
		}
	}
}
