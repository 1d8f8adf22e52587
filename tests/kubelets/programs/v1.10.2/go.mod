module kubelet/1.10.2

go 1.26

require (
	github.com/beorn7/perks v0.0.0-20160229213445-3ac7bf7a47d1
	github.com/davecgh/go-spew v0.0.0-20170626231645-782f4967f2dc
	github.com/dchest/safefile v0.0.0-20151022103144-855e8d98f185
	github.com/docker/distribution v0.0.0-20170726174610-edc3ab29cdff
	github.com/docker/spdystream v0.0.0-20160310174837-449fdfce4d96
	github.com/fsnotify/fsnotify v0.0.0-20160816051541-f12c6236fe7b
	github.com/ghodss/yaml v0.0.0-20150909031657-73d445a93680
	github.com/gogo/protobuf v0.0.0-20170330071051-c0656edd0d9e
	github.com/golang/glog v0.0.0-20141105023935-44145f04b68c
	github.com/golang/groupcache v0.0.0-20160516000752-02826c3e7903
	github.com/golang/protobuf v0.0.0-20171021043952-1643683e1b54
	github.com/google/gofuzz v0.0.0-20161122191042-44d81051d367
	github.com/googleapis/gnostic v0.0.0-20170729233727-0c5108395e2d
	github.com/hashicorp/golang-lru v0.0.0-20160207214719-a0d98a5f2880
	github.com/json-iterator/go v0.0.0-20180612202835-f2b4162afba3
	github.com/kr/fs v0.0.0-20131111012553-2788f0dbd169
	github.com/kr/pty v0.0.0-20151007230424-f7ee69f31298
	github.com/matttproud/golang_protobuf_extensions v0.0.0-20150406173934-fc2b8d3a73c4
	github.com/modern-go/concurrent v0.0.0-20180306012644-bacd9c7ef1dd
	github.com/modern-go/reflect2 v0.0.0-20180320133207-05fbef0ca5da
	github.com/opencontainers/go-digest v0.0.0-20170106003457-a6d0ee40d420
	github.com/pkg/errors v0.8.0
	github.com/pkg/sftp v0.0.0-20160930220758-4d0e916071f6
	github.com/prometheus/client_golang v0.0.0-20170531130054-e7e903064f5e
	github.com/prometheus/client_model v0.0.0-20150212101744-fa8ad6fec335
	github.com/prometheus/common v0.0.0-20170427095455-13ba4ddd0caa
	github.com/prometheus/procfs v0.0.0-20170519190837-65c1f6f8f0fc
	github.com/spf13/afero v0.0.0-20160816080757-b28a7effac97
	github.com/spf13/pflag v1.0.1
	golang.org/x/crypto v0.0.0-20170825220121-81e90905daef
	golang.org/x/exp v0.0.0-20160623011055-292a51b8d262
	golang.org/x/net v0.0.0-20170809000501-1c05540f6879
	golang.org/x/sys v0.0.0-20171031081856-95c657629925
	golang.org/x/text v0.0.0-20170810154203-b19bf474d317
	golang.org/x/time v0.0.0-20161028155119-f51c12702a4d
	google.golang.org/genproto v0.0.0-20170731182057-09f6ed296fc6
	google.golang.org/grpc v1.7.5
	gopkg.in/inf.v0 v0.9.0
	gopkg.in/square/go-jose.v2 v2.1.3
	gopkg.in/yaml.v2 v2.0.0-20170721113624-670d4cfef054
	k8s.io/api v0.0.0-20190116205037-c89978d5f86d
	k8s.io/apiextensions-apiserver v0.0.0-20190116211702-f0729a5940c5
	k8s.io/apimachinery v0.0.0-20190116203031-d49e237a2683
	k8s.io/apiserver v0.0.0-20190116210010-30d6a91f580b
	k8s.io/client-go v0.0.0-20190116205426-36368dede29b
	k8s.io/kube-openapi v0.0.0-20180509051136-39cb288412c4
	k8s.io/kubernetes v1.10.2
	k8s.io/utils v0.0.0-20171122000934-aedf551cdb8b
)


require node v0.0.0

replace node => ../node
