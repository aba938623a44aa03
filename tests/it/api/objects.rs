//! An object of every kind, as its users write it.

/// An object of each kind that a cluster does not have of itself.
pub const OWN: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {password: x}
---
{apiVersion: v1, kind: Node, metadata: {name: "n"}, spec: {podCIDR: 10.42.9.0/24}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: none, ports: [{containerPort: 80}], resources: {requests: {cpu: 100m}}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {plural: things, kind: Thing}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
---
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: e}
eventTime: "2026-01-02T03:04:05.000000Z"
reportingController: test
reportingInstance: test
action: Test
reason: Test
type: Normal
regarding: {kind: ConfigMap, name: a, namespace: default}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: by-hand}}
---
{apiVersion: apps/v1, kind: ControllerRevision, metadata: {name: r}, revision: 1, data: {a: 1}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d}
spec:
  selector: {matchLabels: {app: d}}
  template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: x}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: t}
spec:
  serviceName: t
  selector: {matchLabels: {app: t}}
  template: {metadata: {labels: {app: t}}, spec: {containers: [{name: c, image: x}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: j}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: c}
spec:
  template: {metadata: {labels: {app: c}}, spec: {containers: [{name: c, image: x}]}}
---
apiVersion: v1
kind: PodTemplate
metadata: {name: p}
template: {spec: {containers: [{name: c, image: x}]}}
---
{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {secrets: 100}}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: l}
spec: {limits: [{type: PersistentVolumeClaim, max: {storage: 1Ti}}]}
---
{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: r}, handler: runc}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: s}, provisioner: x.com/p}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: a}
spec: {attacher: x, nodeName: n1, source: {persistentVolumeName: v}}
---
{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: x.com}, spec: {}}
---
apiVersion: storage.k8s.io/v1
kind: CSINode
metadata: {name: n1}
spec: {drivers: [{name: x.com, nodeID: "1"}]}
---
apiVersion: storage.k8s.io/v1
kind: CSIStorageCapacity
metadata: {name: c}
storageClassName: s
capacity: 1Gi
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttributesClass
metadata: {name: v}
driverName: x.com
parameters: {a: b}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: v}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /v}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec: {defaultBackend: {service: {name: s, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: i}
spec: {controller: x.com/c}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}
---
apiVersion: networking.k8s.io/v1
kind: IPAddress
metadata: {name: 10.43.7.7}
spec: {parentRef: {resource: services, namespace: default, name: s}}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: c}
spec: {cidrs: [10.99.0.0/16]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: h}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}
  maxReplicas: 3
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
---
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: o}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}
  maxReplicas: 3
  targetCPUUtilizationPercentage: 50
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: f}
spec: {priorityLevelConfiguration: {name: p}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: p}
spec: {type: Limited, limited: {limitResponse: {type: Reject}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: w}
webhooks:
- name: a.example.com
  sideEffects: None
  admissionReviewVersions: [v1]
  clientConfig: {url: "https://example.com/"}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [none]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: w}
webhooks:
- name: a.example.com
  sideEffects: None
  admissionReviewVersions: [v1]
  clientConfig: {url: "https://example.com/"}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [none]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: p}
spec:
  matchConstraints:
    resourceRules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [x]}]
  validations: [{expression: "true"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: b}
spec: {policyName: p, validationActions: [Deny]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: p}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [x]}]
  mutations:
  - patchType: JSONPatch
    jsonPatch: {expression: "[JSONPatch{op: 'remove', path: '/metadata/labels/a'}]"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: b}
spec: {policyName: p}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v9.example.com}
spec:
  group: example.com
  version: v9
  groupPriorityMinimum: 10
  versionPriority: 10
  service: {namespace: default, name: s}
---
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: c}
spec:
  signerName: example.com/s
  usages: [client auth]
  request: "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlHT01FSUNBUUF3RHpFTk1Bc0dBMV\
    VFQXd3RWFtRnVaVEFxTUFVR0F5dGxjQU1oQUJPV0l3V0szaFdIYTBKYgp1TmxtUHBoY3ZiWThTQjlY\
    T2ZDaFlpWXZrY3NCb0FBd0JRWURLMlZ3QTBFQXliSFRSMkx1Nmh6TVpZY0o2SHJkCmUrUm9mNW8xaz\
    JVZU0wejJRa3owRTJEVnlWN1dqV2lqTGtDeVZwcU05dUNEaGVwdnNjS1pHWXAyUWlsekFlbUoKREE9\
    PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"
---
apiVersion: certificates.k8s.io/v1
kind: ClusterTrustBundle
metadata: {name: "example.com:s:b"}
spec:
  signerName: example.com/s
  trustBundle: |
    -----BEGIN CERTIFICATE-----
    MIIBNjCB6aADAgECAhRTKIZBIbWxN2BTgS1Ib/hx9FpnVzAFBgMrZXAwEDEOMAwG
    A1UEAwwFdHJ1c3QwIBcNMjYxMTI3MjM0NjQxWhgPMjEyNjExMDMyMzQ2NDFaMBAx
    DjAMBgNVBAMMBXRydXN0MCowBQYDK2VwAyEAE5YjBYreFYdrQlu42WY+mFy9tjxI
    H1c58KFiJi+RywGjUzBRMB0GA1UdDgQWBBSISAAWasbKAnlmK3EwYcHuruaTLDAf
    BgNVHSMEGDAWgBSISAAWasbKAnlmK3EwYcHuruaTLDAPBgNVHRMBAf8EBTADAQH/
    MAUGAytlcANBABihKTY4df69Fts135x0WzNEBvHRQCTYsy9g7eCAnAP0rOXJZfYY
    MmguFbHUcyxS6Sw6srZX8r/uXLAQMeTrrA8=
    -----END CERTIFICATE-----
---
apiVersion: certificates.k8s.io/v1
kind: PodCertificateRequest
metadata: {name: p}
spec:
  signerName: example.com/s
  podName: p
  podUID: u
  serviceAccountName: a
  serviceAccountUID: v
  nodeName: n1
  nodeUID: w
  stubPKCS10Request: "MIGOMEICAQAwDzENMAsGA1UEAwwEamFuZTAqMAUGAytlcAMhABOWIwWK3hWHa0JbuNlmPphcvbY8SB\
    9XOfChYiYvkcsBoAAwBQYDK2VwA0EAybHTR2Lu6hzMZYcJ6Hrde+Rof5o1k2UeM0z2Qkz0E2DVyV7W\
    jWijLkCyVpqM9uCDhepvscKZGYp2QilzAemJDA=="
---
{apiVersion: resource.k8s.io/v1, kind: DeviceClass, metadata: {name: d}, spec: {}}
---
apiVersion: resource.k8s.io/v1
kind: DeviceTaintRule
metadata: {name: d}
spec: {taint: {key: a, effect: NoSchedule}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: r}
spec: {devices: {requests: [{name: a, exactly: {deviceClassName: d}}]}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: r}
spec: {spec: {devices: {requests: [{name: a, exactly: {deviceClassName: d}}]}}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: s}
spec: {driver: x.com, allNodes: true, pool: {name: p, generation: 1, resourceSliceCount: 1}}
---
apiVersion: storagemigration.k8s.io/v1
kind: StorageVersionMigration
metadata: {name: m}
spec: {resource: {resource: secrets}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: b}, spec: {minAvailable: 1}}
---
{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: l}, spec: {holderIdentity: me}}
"#;

/// An object of each kind of which a cluster has some of itself.
pub const COMMON: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: walked}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {k: v}, binaryData: {b: AAEC}}
---
apiVersion: v1
kind: Pod
metadata: {name: p, annotations: {a: b}}
spec: {containers: [{name: c, image: x, env: [{name: A, value: b}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {selector: {app: s}, ports: [{port: 80, targetPort: http}]}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}
---
apiVersion: v1
kind: Event
metadata: {name: o}
involvedObject: {kind: ConfigMap, name: a, namespace: walk}
reason: Test
message: seen
type: Normal
source: {component: test}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: r}
spec:
  replicas: 1
  selector: {matchLabels: {app: r}}
  template: {metadata: {labels: {app: r}}, spec: {containers: [{name: c, image: x}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: e}
addressType: IPv4
endpoints: [{addresses: [10.1.2.3], conditions: {ready: true}}]
ports: [{name: http, port: 80}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: r}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: r}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}
subjects: [{kind: User, name: u, apiGroup: rbac.authorization.k8s.io}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: walked}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: walked}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: walked}
subjects: [{kind: ServiceAccount, name: a, namespace: walk}]
---
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: walked}, value: 7}
"#;
