package sqlitestore_test

import ("testing";"path/filepath";"os";"fmt";"time";"strings";"runtime"
"github.com/picket-edr/picket"
"github.com/picket-edr/picket/internal/store"
"github.com/picket-edr/picket/internal/store/sqlitestore")

func rss() string { b,_:=os.ReadFile("/proc/self/status"); var o []string; for _,l:=range strings.Split(string(b),"\n"){ if strings.HasPrefix(l,"VmHWM")||strings.HasPrefix(l,"RssAnon")||strings.HasPrefix(l,"RssFile"){o=append(o,l)}}; return strings.Join(o," ")}

func TestZMake(t *testing.T){
 if os.Getenv("ZDB")=="" {t.Skip()}
 batches:=otrf(t,100000); s,_:=sqlitestore.Open(os.Getenv("ZDB"),sqlitestore.Options{}); saveAll(t,s,batches,2); s.Compact(t.Context()); s.Close()
}
func TestZFind(t *testing.T){
 if os.Getenv("ZDB")=="" {t.Skip()}
 t0:=time.Now(); s,_:=sqlitestore.Open(os.Getenv("ZDB"),sqlitestore.Options{}); fmt.Println("open",time.Since(t0), rss())
 for _,q:=range []string{"EventID=1","bitsadmin","CommandLine~enc","xylophone",`Message~Bits[a-z]+ /transfer`,"securitysystemprocess", "Message~[0-9]{9}z", "not windows", `the`,`" the "`,`Hashes=*ABCDEF0123*`,`"EventID\":1,"`}{ w,err:=store.ParseQuery(q); if err!=nil{t.Fatal(err)}; t0=time.Now(); p,err:=s.Find(t.Context(),store.EventQuery{Where:w}); fmt.Println(q,len(p.Events),err,time.Since(t0)) }
 fmt.Println(rss()); t0=time.Now(); for i:=0;i<100;i++{ s.Event(t.Context(),madeID(i*1000)) }; fmt.Println("event", time.Since(t0)/100)
 // live ingest memory
 evs:=process(t,2000); runtime.GC(); fmt.Println("before",rss()); _ = evs
 for r:=0;r<60;r++{ for k,b:=range evs { for i:=range b.Events{ b.Events[i].ID=fmt.Sprintf("%d-%d-%d",r,k,i)}; b.ID=fmt.Sprint("x",r,"-",k); if _,err:=s.Save(t.Context(),b);err!=nil{t.Fatal(err)} } }
 fmt.Println("after 120k",rss())
 s.Close()
}
func TestZAlerts(t *testing.T){
 if os.Getenv("ZA")=="" {t.Skip()}
 s,_:=sqlitestore.Open(filepath.Join(t.TempDir(),"a.db"),sqlitestore.Options{}); t0:=time.Now()
 n:=0; for b:=0;b<400;b++{ evs:=simples(n,n+500); bt:=store.Batch{ID:fmt.Sprint(b),Events:evs}; for i,e:=range evs{ bt.Events[i].Host=fmt.Sprint("h",n+i); bt.Matches=append(bt.Matches,picket.Match{ID:picket.MatchID("r",e.ID),RuleID:fmt.Sprint("rule",i%300),EventID:e.ID,AgentID:"a",Host:bt.Events[i].Host,Time:e.Time,Level:3,Title:"T"})}; n+=500
  if _,err:=s.Save(t.Context(),bt);err!=nil{t.Fatal(err)} }
 fmt.Println(n,"alerts",time.Since(t0))
 t0=time.Now(); c,_:=s.AlertCounts(t.Context()); fmt.Println(c.Total,len(c.TopRules),time.Since(t0))
 t0=time.Now(); s.Activity(t.Context(),time.Time{},time.Time{}); fmt.Println("act",time.Since(t0))
 t0=time.Now(); p,_:=s.Alerts(t.Context(),store.AlertQuery{Status:[]picket.AlertStatus{"open","investigating"}}); fmt.Println("list",len(p.Alerts),time.Since(t0))
 t0=time.Now(); p,_=s.Alerts(t.Context(),store.AlertQuery{RuleID:"rule7",Level:[]string{"low"}}); fmt.Println("list rule/level none",len(p.Alerts),time.Since(t0))
 t0=time.Now(); p,_=s.Alerts(t.Context(),store.AlertQuery{Text:"zzz"}); fmt.Println("text none",len(p.Alerts),time.Since(t0))
 t0=time.Now(); p,_=s.Alerts(t.Context(),store.AlertQuery{Level:[]string{"low"}}); fmt.Println("level none",len(p.Alerts),time.Since(t0))
 s.Close()
}
