module kubelet/1.9.7

go 1.26

require (
	github.com/PuerkitoBio/purell v1.0.0
	github.com/PuerkitoBio/urlesc v0.0.0-20160726150825-5bd2802263f2
	github.com/aws/aws-sdk-go v1.12.7
	github.com/beorn7/perks v0.0.0-20160229213445-3ac7bf7a47d1
	github.com/davecgh/go-spew v0.0.0-20170626231645-782f4967f2dc
	github.com/dchest/safefile v0.0.0-20151022103144-855e8d98f185
	github.com/dgrijalva/jwt-go v0.0.0-20160705203006-01aeca54ebda
	github.com/docker/distribution v0.0.0-20170726174610-edc3ab29cdff
	github.com/docker/docker v0.0.0-20170731201938-4f3616fb1c11
	github.com/docker/go-connections v0.3.0
	github.com/docker/go-units v0.0.0-20170127094116-9e638d38cf69
	github.com/docker/spdystream v0.0.0-20160310174837-449fdfce4d96
	github.com/emicklei/go-restful v0.0.0-20170410110728-ff4f55a20633
	github.com/ghodss/yaml v0.0.0-20150909031657-73d445a93680
	github.com/go-ini/ini v1.25.4
	github.com/go-openapi/jsonpointer v0.0.0-20160704185906-46af16f9f7b1
	github.com/go-openapi/jsonreference v0.0.0-20160704190145-13c6e3589ad9
	github.com/go-openapi/spec v0.0.0-20170914061247-7abd5745472f
	github.com/go-openapi/swag v0.0.0-20170606142751-f3f9494671f9
	github.com/gogo/protobuf v0.0.0-20170330071051-c0656edd0d9e
	github.com/golang/glog v0.0.0-20141105023935-44145f04b68c
	github.com/golang/groupcache v0.0.0-20160516000752-02826c3e7903
	github.com/golang/protobuf v0.0.0-20171021043952-1643683e1b54
	github.com/google/btree v0.0.0-20160524151835-7d79101e329e
	github.com/google/gofuzz v0.0.0-20161122191042-44d81051d367
	github.com/googleapis/gnostic v0.0.0-20170729233727-0c5108395e2d
	github.com/gregjones/httpcache v0.0.0-20170728041850-787624de3eb7
	github.com/hashicorp/golang-lru v0.0.0-20160207214719-a0d98a5f2880
	github.com/jmespath/go-jmespath v0.0.0-20160202185014-0b12d6b521d8
	github.com/json-iterator/go v0.0.0-20180612202835-f2b4162afba3
	github.com/juju/ratelimit v0.0.0-20170523012141-5b9ff8664717
	github.com/kr/pty v0.0.0-20151007230424-f7ee69f31298
	github.com/mailru/easyjson v0.0.0-20170624190925-2f5df55504eb
	github.com/matttproud/golang_protobuf_extensions v0.0.0-20150406173934-fc2b8d3a73c4
	github.com/modern-go/concurrent v0.0.0-20180306012644-bacd9c7ef1dd
	github.com/modern-go/reflect2 v0.0.0-20180320133207-05fbef0ca5da
	github.com/opencontainers/go-digest v0.0.0-20170106003457-a6d0ee40d420
	github.com/opencontainers/image-spec v0.0.0-20170604055404-372ad780f634
	github.com/peterbourgon/diskv v2.0.1+incompatible
	github.com/prometheus/client_golang v0.0.0-20170531130054-e7e903064f5e
	github.com/prometheus/client_model v0.0.0-20150212101744-fa8ad6fec335
	github.com/prometheus/common v0.0.0-20170427095455-13ba4ddd0caa
	github.com/prometheus/procfs v0.0.0-20170519190837-65c1f6f8f0fc
	github.com/spf13/pflag v0.0.0-20170130214245-9ff6c6923cff
	golang.org/x/exp v0.0.0-20160623011055-292a51b8d262
	golang.org/x/net v0.0.0-20170809000501-1c05540f6879
	golang.org/x/sys v0.0.0-20171031081856-95c657629925
	golang.org/x/text v0.0.0-20170810154203-b19bf474d317
	google.golang.org/genproto v0.0.0-20170731182057-09f6ed296fc6
	google.golang.org/grpc v1.3.0
	gopkg.in/gcfg.v1 v1.2.0
	gopkg.in/inf.v0 v0.9.0
	gopkg.in/warnings.v0 v0.1.1
	gopkg.in/yaml.v2 v2.0.0-20150924142314-53feefa2559f
	k8s.io/api v0.0.0-20181004124102-897ffaeb725b
	k8s.io/apiextensions-apiserver v0.0.0
	k8s.io/apimachinery v0.0.0-20180925215425-1926e7bb5c13
	k8s.io/apiserver v0.0.0
	k8s.io/client-go v0.0.0-20181004124206-fe6ffc34b303
	k8s.io/kube-openapi v0.0.0-20180509051205-7ee50c0aa805
	k8s.io/kubernetes v1.9.7
	k8s.io/utils v0.0.0-20171122000934-aedf551cdb8b
)

replace (
	k8s.io/apiserver => ./.staging/k8s.io/apiserver
	k8s.io/apiextensions-apiserver => ./.staging/k8s.io/apiextensions-apiserver
)


require node v0.0.0

replace node => ../node
