package rafttest
import ("testing";"fmt")
func TestZZ(t *testing.T){
 n:=newRun(*oneSeed)
 fmt.Println(n.run())
 for _,r:=range n.Replicas { if r.Group==nil {fmt.Println(r.ID,"down");continue}
  st:=r.Group.Status()
  fmt.Printf("%d %s term %d lead %d last %s commit %d appl %d dur %d base %s q %v st %v tr %d unsy %d | %s\n",r.ID,st.Role,st.Term,st.Leader,st.Last,st.Commit,st.Applied,st.Durable,st.Base,st.Quiet,st.Stalled,st.Transferee,st.UnsyncedTicks,words(st.Membership))
  for _,p:=range st.Progress{fmt.Printf("   %+v\n",p)}
 }
}
