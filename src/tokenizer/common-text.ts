/**
 * @file A little everyday text, from which a new model's vocabularies are made when no better corpus is given: what
 * prompts contain, frequent English words, frequent Chinese characters, a few lines of code and numbers.
 */

/** Frequent English words, roughly by frequency. */
export const COMMON_ENGLISH: readonly string[] = `
the of and to a in is it you that he was for on are with as i his they be at one have this from or had by not but what
all were we when your can said there use an each which she do how their if will up other about out many then them these
so some her would make like him into time has look two more write go see number no way could people my than first water
been call who oil its now find long down day did get come made may part over new sound take only little work know place
year live me back give most very after thing our just name good sentence man think say great where help through much
before line right too mean old any same tell boy follow came want show also around form three small set put end does
another well large must big even such because turn here why ask went men read need land different home us move try kind
hand picture again change off play spell air away animal house point page letter mother answer found study still learn
should world high every near add food between own below country plant last school father keep tree never start city
earth eye light thought head under story saw left few while along might close something seem next hard open example
begin life always those both paper together got group often run important until children side feet car mile night walk
white sea began grow took river four carry state once book hear stop without second later miss idea enough eat face
watch far really almost let above girl sometimes mountain cut young talk soon list song being leave family it's don't
i'm you're can't hello hi thanks thank please yes okay sorry sure today tomorrow yesterday morning evening image video
audio voice speech text speak listen assistant user system helpful question red green blue yellow black circle square
five six seven eight nine ten zero hundred thousand person woman child dog cat bird street building room table music
weather rain sun happy sad angry warm cold fast slow left right middle top bottom front behind computer phone model
language english chinese translate describe transcribe repeat accept input output provided prompt clone style character
synthesize content above based role play role-play using use content clip carefully snippet sentence created cloud
`
  .trim()
  .split(/\s+/)

/** Frequent Chinese characters, roughly by frequency. */
export const COMMON_CHINESE: readonly string[] = [
  ...`
的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然
家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把
机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果
加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔
更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展
马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共
确传师观清今切院让识候带导争运笑飞风步改收根干造言联持组每济车亲极林服快办议往元英士证近失转夫令准布始怎呢存未
远叫台单影具罗字爱击流备兵连调深商算质团集百需价花党华城石级整府离况亚请技际约示复病息究线似官火断精满支视消越
器容照须九增研写称企八功吗包片史委乎查轻易早曾除农找装广显吧阿李标谈吃图念六引历首医局突专费号尽另周较注语仅考
落青随选列武红响虽推势参希古众构房半节土投某案黑维革划敌致陈律足态护七兴派孩验责营星够章音跟志底站严巴例防族供
效续施留讲型料终答紧黄绝奇察母京段依批群项故按河米围江织害斗双境客纪采举杀攻父苏密低朝友诉止细愿千值仍男钱破网
热助倒育属坐帝限船脸职速刻乐否刚威毛状率甚独球般普怕弹校苦创假久错承印晚兰试股拿脑预谁益阳若哪微尼继送急血惊伤
素药适波夜省初喜卫源食险待述陆习置居劳财环排福纳欢雷警获模充负云停木游龙树疑层冷洲冲射略范竟句室异激汉村哈策演
简卡罪判担州静退既衣您宗积余痛检差富灵协角占配征修皮挥胜降阶审沉坚善妈刘读啊超免压银买皇养伊怀执副乱抗犯追帮宣
佛岁航优怪香著田铁控税左右份穿艺背阵草脚概恶块顿敢守酒岛托央户烈洋哥索胡款靠评版宝座释景顾弟登货互付伯慢欧换闻
危忙核暗姐介坏讨丽良序升监临亮露永呼味野架域沙掉括舰鱼杂误湾吉减编楚肯测败屋跑梦散温困剑渐封救贵枪缺楼县尚毫移
娘朋画班智亦耳恩短掌恐遗固席松秘谢鲁遇康虑幸均销钟诗藏赶剧票损忽巨炮旧端探湖录叶春乡附吸予礼港雨呀板庭妇归睛饭
额含顺输摇招婚脱补谓督毒油疗旅泽材灭逐莫笔亡鲜词圣择寻厂睡博勒烟授诺伦岸奥唐卖俄炸载洛健堂旁宫喝借君禁阴园谋宋
避抓荣姑孙逃牙束跳顶玉镇雪午练迫爷篇肉嘴馆遍凡础洞卷坦牛宁纸诸训私庄祖丝翻暴森塔默握戏隐熟骨访弱蒙歌店鬼软典欲
萨伙遭盘爸扩盖弄雄稳忘亿刺拥徒姆杨齐赛趣曲刀床迎冰虚玩析窗醒妻透购替塞努休虎扬途侵刑绿兄迅套贸毕唯谷轮库迹尤竞
街促延震弃甲伟麻川申缓潜闪售灯针哲络抵朱埃抱鼓植纯夏忍页杰筑折郑贝尊吴秀混臣雅振染盛怒舞圆搞狂措姓残秋培迷诚宽
宇猛摆梅毁伸摩盟末乃悲拍丁赵硬麦蒋操耶阻订彩抽赞魔纷沿喊违妹浪汇币丰蓝殊献桌啦瓦莱援译夺汽烧距裁偏符勇触课敬哭
懂墙袭召罚侠厅拜巧侧韩冒债曼融惯享戴童犹乘挂奖绍厚纵障讯涉彻刊丈爆乌役描洗玛患妙镜唱烦签仙彼弗症仿倾牌陷鸟轰咱
菜闭奋庆撤泪茶疾缘播朗杜奶季丹狗尾仪偷奔珠虫驻孔宜艾桥淡翼恨繁寒伴叹旦愈潮粮缩罢聚径恰挑袋灰捕徐珍幕映裂泰隔启
尖忠累炎暂估泛荒偿横拒瑞忆孤鼻闹羊呆厉衡胞零穷舍码赫婆魂灾洪腿胆津俗辩胸晓劲贫仁偶辑邦恢赖圈摸仰润堆碰艇稍迟辆
废净凶署壁御奉旋冬矿抬蛋晨伏吹鸡倍糊秦盾杯租骑乏隆诊奴摄丧污渡旗甘耐凭扎抢绪粗肩梁幻菲皆碎宙叔岩荡综爬荷悉蒂返
井壮薄悄扫敏碍殖详迪矛霍允幅撒剩凯颗骂赏液番箱贴漫酸郎腰舒眉忧浮辛恋餐吓挺励辞艘键伍峰尺昨黎辈贯侦滑券崇扰宪绕
趋慈乔阅汗枝拖墨胁插箭腊粉泥氏
`.replaceAll("\n", ""),
]

/** Sentences the official prompts consist of, and small pieces of code and numbers. */
const SENTENCES = [
  "You are a helpful assistant. You can accept video, audio and text input and output voice and text.",
  "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
  "Clone the voice in the provided audio prompt. As an assistant, you will speak using this voice style.",
  "Use the voice in the audio prompt to synthesize new content. You are a helpful assistant with the above voice style.",
  "Try to role-play the character based on the audio prompt above. Please read the text below.",
  "Please listen to the audio snippet carefully and transcribe the content. What is in the image? Describe the video.",
  "你是一个AI助手。你能接受视频，音频和文本输入并输出语音和文本。模仿输入音频中的声音特征。作为助手，你将使用这种声音风格说话。",
  "请仔细听这段音频片段，并将其内容逐字记录。假装你是上述音频中的人物，与我进行对话。",
  "system\nuser\nassistant\n",
  '    for (let i = 0; i < n; i++) {\n        return x\n    }\n\n```\n{"name": "value"}\n',
]

/** All of it as texts to learn merges from; frequent words weigh more. */
export function commonTexts(): string[] {
  const times = (text: string, rank: number) => text.repeat(2 + Math.round(2000 / (rank + 20)))
  const capital = (word: string) => word[0]!.toUpperCase() + word.slice(1)
  const words = COMMON_ENGLISH.map(
    (word, rank) => `${times(` ${word}`, rank)} ${capital(word)}\n${capital(word)}\n${word}`,
  )
  // A line each: a mark in front would become part of the word.
  const characters = COMMON_CHINESE.map((char, rank) => times(`${char}\n`, rank))
  return [...words, ...characters, ...SENTENCES.flatMap((sentence) => Array<string>(8).fill(sentence))]
}
