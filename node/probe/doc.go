// Package probe looks once whether an instance of a service is up.
//
// It does not decide what is up: repl/health has the thresholds, and says who looks when. It trusts
// neither the definition of a check, which comes from whoever may write to the cluster, nor its
// target:
//
//   - The node's configuration says which networks may be dialled, and which programs run. An
//     address is compared after its name is resolved, on the socket that is about to connect.
//   - A probe ends at its deadline, whatever the target does: everything that it has opened is
//     closed from outside the code that talks ([conns]).
//   - It reads at most [ReadMax] bytes from each connection.
//   - A driver gets no packet that visibly can't be read, or would take it longer than a probe. If it
//     panics all the same, that ends the probe and not the process ([Prober.guarded]).
//   - It leaves no port in TIME_WAIT, however often it is made ([conn.Close]).
//
// Each type of check is a file: tcp.go, web.go, mysql.go, pgsql.go, redis.go, grpc.go, program.go. Start
// with prober.go.
//
// # Goroutines
//
//	who                     owner     ends
//	closing at the deadline a probe   with the probe
//	those of net/http, pgx  a probe   once its connection is closed
//	waiting for a program   a probe   once the program has ended
//	reading what it writes  a probe   with the probe
package probe
